"""Saving a trained model as a folder, and opening it from there or from a bundle.

A model's folder holds config.json ({"name", "config", "schema"}), weights.safetensors, encoded_id.npy [I] int32, and
for the two-tower candidate.npy [I, E] float32. A bundle holds the same files under `two_tower/` and `ranker/`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Final, TypeVar, cast

import numpy as np
import torch
from pydantic import BaseModel
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from contracts.bundle import Bundle
from contracts.catalogue import ItemFeatures
from contracts.config import validate
from contracts.errors import BundleError
from contracts.ids import FloatArray, IntArray
from contracts.model_entry import MODEL_CONFIG, ModelEntry
from contracts.strings import map_array
from training.models.inputs import ItemTensors
from training.models.ranker import Ranker, build_ranker
from training.models.schema import ModelSchema
from training.models.two_tower import TwoTower, TwoTowerConfig

TWO_TOWER: Final = "two_tower"
RANKER: Final = "ranker"
_WEIGHTS, _ENCODED_ID, _CANDIDATE = "weights.safetensors", "encoded_id.npy", "candidate.npy"
_CANDIDATE_CHUNK = 8_192

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def build_model(name: str, config: Mapping[str, object], schema: ModelSchema, items: ItemTensors) -> nn.Module:
    """Builds a model; training, fine-tuning, index building and serving all call it."""
    if name == TWO_TOWER:
        return TwoTower(validate(TwoTowerConfig, config, source="config of the two-tower"), schema, items)
    return build_ranker(name, config, schema, items)


def save_model(name: str, model: nn.Module, folder: Path) -> None:
    """Writes a model into an existing folder.

    Args:
        name: `two_tower` or the name of a ranker.
        model: has `config`, `schema` and `items`, as every model of this package.
        folder: see the layout above.
    """
    config, schema = cast(BaseModel, model.config), cast(BaseModel, model.schema)
    entry = ModelEntry(name, config.model_dump(mode="json"), schema.model_dump(mode="json"))
    (folder / MODEL_CONFIG).write_text(json.dumps(asdict(entry), indent=2) + "\n", encoding="utf-8")
    save_file({key: value.contiguous().cpu() for key, value in model.state_dict().items()}, folder / _WEIGHTS)
    np.save(folder / _ENCODED_ID, cast(ItemTensors, model.items).encoded_id.cpu().numpy())
    if isinstance(model, TwoTower):
        np.save(folder / _CANDIDATE, candidate_embeddings(model))


def load_weights(model: nn.Module, folder: Path) -> None:
    """Copies the weights of a trained model of the same shape into a model, to start fine-tuning.

    Raises:
        BundleError: the weights are missing or of another shape.
    """
    path = folder / _WEIGHTS
    if not path.is_file():
        raise BundleError(f"no {_WEIGHTS} in {folder}; expected the folder of a trained model")
    try:
        model.load_state_dict(load_file(path))
    except (RuntimeError, SafetensorError) as error:
        raise BundleError(f"{path} does not fit the model of this config: {error}") from error


@torch.no_grad()
def candidate_embeddings(model: TwoTower) -> FloatArray:
    """Embeddings of the whole catalogue, [I, E] float32."""
    model.eval()
    rows = torch.arange(len(model.items), device=model.items.encoded_id.device)
    return torch.cat([model.candidate(part) for part in torch.split(rows, _CANDIDATE_CHUNK)]).cpu().numpy()


def open_model(folder: Path, items: ItemFeatures) -> nn.Module:
    """Opens a model's folder for scoring.

    Args:
        folder: written by `save_model`.
        items: the catalogue that the model was trained with.

    Raises:
        BundleError: a file is missing, or the weights are not those of the config.
    """
    for name in (MODEL_CONFIG, _WEIGHTS, _ENCODED_ID):
        if not (folder / name).is_file():
            raise BundleError(f"no {name} in {folder}; expected the folder of a trained model")
    path = folder / MODEL_CONFIG
    entry = ModelEntry.of(json.loads(path.read_text(encoding="utf-8")), str(path))
    return _restore(entry, folder / _WEIGHTS, items, map_array(folder / _ENCODED_ID))


def load_two_tower(bundle: Bundle, device: torch.device | str = "cpu") -> TwoTower:
    """The bundle's two-tower on a device, ready for scoring."""
    return _checked(_from_bundle(bundle, TWO_TOWER, device), TwoTower)


def load_ranker(bundle: Bundle, device: torch.device | str = "cpu", *, prepare: bool = True) -> Ranker:
    """The bundle's ranker, ready for scoring.

    Args:
        bundle: an opened bundle.
        device: of its tensors; on a CPU, the replicas of a machine share the mapped weights.
        prepare: precomputes what depends on the catalogue alone; False if each call brings its own items.
    """
    return cast(Ranker, _from_bundle(bundle, RANKER, device, prepare=prepare))


def open_two_tower(folder: Path, items: ItemFeatures) -> TwoTower:
    """A trained two-tower's folder, ready for scoring."""
    return _checked(open_model(folder, items), TwoTower)


def _from_bundle(bundle: Bundle, part: str, device: torch.device | str, *, prepare: bool = True) -> nn.Module:
    weights = bundle.file(f"{part}/{_WEIGHTS}")
    encoded_id = bundle.array(f"{part}/encoded_id")
    entry = bundle.model_entry(part)
    return _restore(entry, weights, bundle.items, encoded_id, device, prepare=prepare)


def _checked(model: nn.Module, kind: type[ModuleT]) -> ModuleT:
    if not isinstance(model, kind):
        raise BundleError(f"found a {type(model).__name__}, expected a {kind.__name__}; the folders are mixed up")
    return model


@torch.no_grad()
def _restore(
    entry: ModelEntry,
    weights: Path,
    items: ItemFeatures,
    encoded_id: IntArray,
    device: torch.device | str = "cpu",
    *,
    prepare: bool = True,
) -> nn.Module:
    """Builds without memory for the weights, then maps them, so that the replicas of a machine share them."""
    schema = validate(ModelSchema, entry.schema, source=f"schema of {weights.parent}")
    tensors = ItemTensors(items, encoded_id)
    with torch.device("meta"):
        model = build_model(entry.name, entry.config, schema, tensors)
    try:
        model.load_state_dict(load_file(weights), assign=True)
    except (RuntimeError, SafetensorError) as error:
        raise BundleError(f"{weights} does not hold the weights of its config: {error}") from error
    model.eval().to(device)
    if prepare:
        cast(TwoTower | Ranker, model).prepare()
    return model
