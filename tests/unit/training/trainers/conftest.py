from __future__ import annotations

import pytest
import torch

from training.models.inputs import ItemTensors
from training.models.schema import ModelSchema
from training.models.two_tower import TwoTower, TwoTowerConfig
from training.trainers.data import WorkerData


@pytest.fixture
def retrieval(toy_data: WorkerData, toy_schema: ModelSchema) -> TwoTower:
    """Untrained: it retrieves all 30 items and orders them at random."""
    torch.manual_seed(5)
    config = TwoTowerConfig(output_dim=4, history_length=2, history_dim=4, history_heads=1)
    return TwoTower(config, toy_schema, ItemTensors(toy_data.items, toy_data.encoded_id)).eval()
