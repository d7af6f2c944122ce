from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from training.embeddings.pca import Pca


def test_components_of_a_hand_made_cloud() -> None:
    vectors = np.array([[3, 1], [-3, 1], [0, 2], [0, 0]], dtype=np.float32)  # wide along x, narrow along y, mean (0, 1)
    pca = Pca.fit(vectors, 2)
    assert pca.mean.tolist() == [0, 1]
    assert pca.components == pytest.approx(np.eye(2), abs=1e-7)
    projected = pca.apply(vectors, np.array([True, True, True, False]))
    assert projected == pytest.approx(np.array([[3, 0], [-3, 0], [0, 1], [0, 0]]), abs=1e-6)
    assert projected.dtype == np.float32


def test_a_missing_row_stays_zero_although_the_mean_is_not() -> None:
    pca = Pca.fit(np.array([[1.0, 0.0], [3.0, 0.0]], dtype=np.float32), 1)
    assert pca.apply(np.zeros((1, 2), dtype=np.float32), np.array([False])).tolist() == [[0.0]]
    assert pca.apply(np.zeros((1, 2), dtype=np.float32), np.array([True])).tolist() == [[-2.0]]


def test_few_items_give_few_components_padded_with_zeros() -> None:
    vectors = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32)
    pca = Pca.fit(vectors, 5)
    assert pca.components.shape == (5, 8)
    assert np.linalg.norm(pca.components, axis=1) == pytest.approx([1, 1, 1, 0, 0], abs=1e-6)
    assert not pca.apply(vectors, np.ones(3, dtype=bool))[:, 3:].any()


def test_no_items_give_zeros() -> None:
    pca = Pca.fit(np.zeros((0, 4), dtype=np.float32), 2)
    assert pca.apply(np.ones((2, 4), dtype=np.float32), np.ones(2, dtype=bool)).tolist() == [[0, 0], [0, 0]]
    assert Pca.fit(np.zeros((0, 0), dtype=np.float32), 2).apply(
        np.zeros((3, 0), dtype=np.float32), np.zeros(3, dtype=bool)
    ).shape == (3, 2)


def test_the_sign_of_a_component_is_fixed() -> None:
    vectors = np.random.default_rng(1).normal(size=(50, 6)).astype(np.float32)
    one, other = Pca.fit(vectors, 3), Pca.fit(vectors[::-1].copy(), 3)
    assert one.components == pytest.approx(other.components, abs=1e-5)
    largest = np.abs(one.components).argmax(axis=1)
    assert (one.components[np.arange(3), largest] > 0).all()


def test_a_file_brings_it_back(tmp_path: Path) -> None:
    pca = Pca.fit(np.random.default_rng(2).normal(size=(9, 4)).astype(np.float32), 2)
    pca.save(tmp_path / "pca.safetensors")
    loaded = Pca.load(tmp_path / "pca.safetensors")
    assert (loaded.mean == pca.mean).all()
    assert (loaded.components == pca.components).all()
