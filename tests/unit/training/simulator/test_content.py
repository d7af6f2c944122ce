"""Texts and pictures carry category, taste and price band."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from training.simulator import SimulatorConfig, vocabulary
from training.simulator.catalogue import Catalogue, draw_catalogue
from training.simulator.config import PRESETS
from training.simulator.period import Period
from training.simulator.pictures import SIZE, Motif, draw_picture
from training.simulator.simulate import build_shop


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return draw_catalogue(800, 14, PRESETS["hard"], np.random.default_rng(4))


def probe_accuracy(features: np.ndarray, labels: np.ndarray) -> float:
    """Held-out accuracy of a ridge regression onto one-hot labels, trained on the first half."""
    half = len(features) // 2
    centred = features - features[:half].mean(axis=0)
    x = np.hstack([centred, np.ones((len(features), 1))])
    targets = np.eye(labels.max() + 1)[labels]
    kernel = x[:half] @ x[:half].T
    weights = np.linalg.solve(kernel + 10.0 * np.eye(half), targets[:half])
    predicted = (x[half:] @ x[:half].T @ weights).argmax(axis=1)
    return float((predicted == labels[half:]).mean())


def pixels(catalogue: Catalogue) -> np.ndarray:
    traits, band = catalogue.traits, catalogue.price_band
    drawn = [
        draw_picture(Motif(*map(int, codes)), np.random.default_rng(row))
        for row, codes in enumerate(zip(traits.category_l1, traits.category_l2, traits.taste, band, strict=True))
    ]
    return np.stack(drawn)


def test_a_linear_probe_on_pixels_finds_taste_and_category(catalogue: Catalogue) -> None:
    images = pixels(catalogue).astype(float) / 255
    small = images.reshape(-1, SIZE // 8, 8, SIZE // 8, 8, 3).mean(axis=(2, 4)).reshape(len(images), -1)
    assert probe_accuracy(small, catalogue.traits.taste) > 0.95
    shape = (images.mean(axis=3) < 0.75).reshape(len(images), -1).astype(float)
    most_frequent = np.bincount(catalogue.traits.category_l1).max() / len(catalogue)
    assert probe_accuracy(shape, catalogue.traits.category_l1) > max(0.6, 3 * most_frequent)


@pytest.mark.parametrize(
    "change",
    [lambda code: Motif(code, 0, 0, 0), lambda code: Motif(0, code, 0, 0)],
    ids=["category_l1", "category_l2"],
)
def test_every_category_looks_different(change: Callable[[int], Motif]) -> None:
    num_categories = {"category_l1": 42, "category_l2": 84}
    count = num_categories["category_l1"] if change(1).category_l1 else num_categories["category_l2"]
    drawn = {draw_picture(change(code), np.random.default_rng(0)).tobytes() for code in range(count)}
    assert len(drawn) == count


def test_the_price_band_is_a_texture() -> None:
    octagon = 15
    drawn = [draw_picture(Motif(octagon, 0, 0, band), np.random.default_rng(0)) for band in range(3)]
    grey = [picture[24:40, 24:40].mean(axis=2) for picture in drawn]
    plain, striped, chequered = grey
    assert plain.std() < 1e-9
    assert striped.std(axis=0).max() < 1e-9
    assert striped.std(axis=1).min() > 10
    assert chequered.std(axis=0).min() > 10


def test_texts_tell_category_taste_and_band_and_nothing_of_popularity(catalogue: Catalogue) -> None:
    lengths = [len(text) for text in catalogue.descriptions]
    assert min(lengths) >= 100
    assert max(lengths) <= 400
    for row in range(len(catalogue)):
        text = f"{catalogue.titles[row]} {catalogue.descriptions[row]}"
        taste = vocabulary.TASTES[catalogue.traits.taste[row]]
        assert any(word in text for word in taste.colours)
        assert any(word in text for word in taste.materials)
        assert catalogue.category_l1[row] in text
        assert catalogue.category_l2[row] in text
        assert any(phrase in text for phrase in vocabulary.BAND_PHRASES[catalogue.price_band[row]])
    assert len(set(catalogue.descriptions)) > 0.99 * len(catalogue)


def test_vocabulary_has_twenty_categories_with_84_subcategories() -> None:
    entries = vocabulary.SUBCATEGORIES
    assert len({entry.category_l1 for entry in entries}) == 20
    assert len({(entry.category_l1, entry.name) for entry in entries}) == 84
    assert all(len(entry.nouns) == 2 for entry in entries)
    colours = [colour for taste in vocabulary.TASTES for colour in taste.colours]
    assert len(colours) == len(set(colours))


def test_written_pictures_are_those_of_the_items(debug_raw: Path, debug_config: SimulatorConfig) -> None:
    items = pq.read_table(debug_raw / "items")
    assert len(list((debug_raw / "images").iterdir())) == 300
    shop = build_shop(debug_config, Period(20_514, 14, "UTC"))
    row = 17
    with Image.open(debug_raw / items["image_path"][row].as_py()) as image:
        assert (image.size, image.mode) == ((SIZE, SIZE), "RGB")
        colour = np.asarray(image)[28:36, 28:36].mean(axis=(0, 1))
    distance = [np.abs(colour - np.array(taste.rgb)).sum() for taste in vocabulary.TASTES]
    assert int(np.argmin(distance)) == shop.catalogue.traits.taste[row]
