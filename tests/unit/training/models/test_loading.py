from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from contracts.catalogue import ItemFeatures
from contracts.errors import BundleError
from training.models.dlrm import DLRM, DLRMConfig
from training.models.inputs import ItemTensors
from training.models.loading import candidate_embeddings, load_weights, open_model, open_two_tower, save_model
from training.models.schema import ModelSchema
from training.models.two_tower import TwoTower, TwoTowerConfig


@pytest.fixture
def saved(toy_schema: ModelSchema, toy_tensors: ItemTensors, tmp_path: Path) -> tuple[TwoTower, Path]:
    model = TwoTower(TwoTowerConfig(output_dim=4), toy_schema, toy_tensors)
    save_model("two_tower", model, tmp_path)
    return model, tmp_path


def test_an_opened_model_is_the_saved_one(saved: tuple[TwoTower, Path], toy_items: ItemFeatures) -> None:
    model, folder = saved

    opened = open_two_tower(folder, toy_items)

    assert opened.config == model.config
    assert opened.schema == model.schema
    assert not opened.training
    rows = torch.arange(30)
    torch.testing.assert_close(opened.candidate(rows), model.candidate(rows), atol=1e-6, rtol=1e-6)


def test_the_candidates_are_saved_beside_the_weights(saved: tuple[TwoTower, Path]) -> None:
    model, folder = saved

    candidates = np.load(folder / "candidate.npy")

    np.testing.assert_array_equal(candidates, candidate_embeddings(model))
    assert candidates.shape == (30, 4)
    assert candidates.dtype == np.float32


def test_item_features_are_no_weights(saved: tuple[TwoTower, Path]) -> None:
    model, _ = saved

    assert not any(key.startswith("items.") for key in model.state_dict())


def test_a_ranker_is_no_two_tower(
    toy_schema: ModelSchema, toy_tensors: ItemTensors, toy_items: ItemFeatures, tmp_path: Path
) -> None:
    save_model("dlrm", DLRM(DLRMConfig(), toy_schema, toy_tensors), tmp_path)

    assert isinstance(open_model(tmp_path, toy_items), DLRM)
    with pytest.raises(BundleError, match="found a DLRM, expected a TwoTower; the folders are mixed up"):
        open_two_tower(tmp_path, toy_items)


def test_a_missing_file_is_named(saved: tuple[TwoTower, Path], toy_items: ItemFeatures) -> None:
    _, folder = saved
    (folder / "weights.safetensors").unlink()

    with pytest.raises(BundleError, match=r"no weights\.safetensors in .*; expected the folder of a trained model"):
        open_model(folder, toy_items)


def test_weights_of_another_config_are_refused(saved: tuple[TwoTower, Path], toy_items: ItemFeatures) -> None:
    _, folder = saved
    entry = json.loads((folder / "config.json").read_text())
    entry["config"]["output_dim"] = 5
    (folder / "config.json").write_text(json.dumps(entry))

    with pytest.raises(BundleError, match="does not hold the weights of its config"):
        open_model(folder, toy_items)


@pytest.mark.parametrize(("key", "kind"), [("name", "str"), ("config", "dict"), ("schema", "dict")])
def test_a_config_that_lacks_a_key_is_refused(
    saved: tuple[TwoTower, Path], toy_items: ItemFeatures, key: str, kind: str
) -> None:
    _, folder = saved
    entry = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**entry, key: 3}))

    with pytest.raises(BundleError, match=rf"config\.json has no '{key}' of type {kind}"):
        open_model(folder, toy_items)


def test_damaged_weights_are_refused(saved: tuple[TwoTower, Path], toy_items: ItemFeatures) -> None:
    _, folder = saved
    (folder / "weights.safetensors").write_bytes(b"\xff" * 64)

    with pytest.raises(BundleError, match="does not hold the weights of its config"):
        open_model(folder, toy_items)


def test_training_can_start_from_a_folder(
    saved: tuple[TwoTower, Path], toy_schema: ModelSchema, toy_tensors: ItemTensors, tmp_path: Path
) -> None:
    model, folder = saved
    fresh = TwoTower(model.config, toy_schema, toy_tensors)

    load_weights(fresh, folder)

    for name, value in fresh.state_dict().items():
        torch.testing.assert_close(value, model.state_dict()[name])
    with pytest.raises(BundleError, match="does not fit the model of this config"):
        load_weights(TwoTower(TwoTowerConfig(output_dim=3), toy_schema, toy_tensors), folder)
    with pytest.raises(BundleError, match=r"no weights\.safetensors in"):
        load_weights(fresh, tmp_path / "nothing")
