"""A shop small enough to train on in a second: every user keeps to one category."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from contracts.catalogue import ItemFeatures
from contracts.transforms import VOCABULARIES, FittedTransforms
from contracts.vocabulary import Vocabulary
from training.features.events import EventTable
from training.models.inputs import ItemTensors
from training.models.schema import ModelSchema
from training.trainers.data import WorkerData

NUM_ITEMS, NUM_USERS, NUM_CATEGORIES, EVENTS_PER_USER = 30, 40, 3, 28
FIRST_DAY, TRAIN_END_DAY, NUM_DAYS = 20_000, 20_011, 14


@pytest.fixture(scope="session")
def toy_transforms() -> FittedTransforms:
    tokens = {name: tuple(f"{name}{number}" for number in range(NUM_CATEGORIES)) for name in VOCABULARIES}
    tokens["user_id"] = tuple(f"u{number}" for number in range(NUM_USERS))
    tokens["item_id"] = tuple(f"i{number}" for number in range(NUM_ITEMS - 2))
    vocabularies = {name: Vocabulary(tokens[name]) for name in VOCABULARIES}
    return FittedTransforms(vocabularies, 30.0, 40.0, 10.0, 2.0, 1.0, "UTC")


@pytest.fixture(scope="session")
def toy_items() -> ItemFeatures:
    """The last two items are new: they launch on day 10 and have no encoded id."""
    rng = np.random.default_rng(1)
    category = np.arange(NUM_ITEMS) % NUM_CATEGORIES + 1
    launched_at = np.zeros(NUM_ITEMS, dtype=np.int64)
    launched_at[-2:] = (FIRST_DAY + 10) * 86_400
    text = np.eye(NUM_CATEGORIES + 1)[category] + rng.normal(0, 0.1, (NUM_ITEMS, NUM_CATEGORIES + 1))
    return ItemFeatures(
        np.stack([category, category, np.ones(NUM_ITEMS)], axis=1).astype(np.int32),
        rng.normal(size=(NUM_ITEMS, 1)).astype(np.float32),
        text.astype(np.float32),
        rng.normal(size=(NUM_ITEMS, 3)).astype(np.float32),
        launched_at,
    )


@pytest.fixture(scope="session")
def toy_encoded_id() -> np.ndarray:
    ids = np.arange(1, NUM_ITEMS + 1, dtype=np.int32)
    ids[-2:] = 0
    return ids


@pytest.fixture(scope="session")
def toy_schema(toy_transforms: FittedTransforms, toy_items: ItemFeatures) -> ModelSchema:
    return ModelSchema.of(toy_transforms, toy_items)


@pytest.fixture
def toy_tensors(toy_items: ItemFeatures, toy_encoded_id: np.ndarray) -> ItemTensors:
    torch.manual_seed(0)
    return ItemTensors(toy_items, toy_encoded_id)


@pytest.fixture(scope="session")
def toy_events() -> EventTable:
    rng = np.random.default_rng(2)
    total = NUM_USERS * EVENTS_PER_USER
    subject = np.repeat(np.arange(NUM_USERS, dtype=np.int32), EVENTS_PER_USER)
    of_category = rng.integers(0, (NUM_ITEMS - 2) // NUM_CATEGORIES, total)
    day = np.tile(np.arange(EVENTS_PER_USER) * NUM_DAYS // EVENTS_PER_USER, NUM_USERS) + FIRST_DAY
    timestamp = day * 86_400 + np.tile(np.arange(EVENTS_PER_USER) % 2, NUM_USERS) * 600 + 36_000
    yes, no = np.ones(total, dtype=bool), np.zeros(total, dtype=bool)
    category = (subject % NUM_CATEGORIES + 1).astype(np.int32)
    return EventTable(
        subject_ids=np.array([f"u{number}" for number in range(NUM_USERS)], dtype=object),
        offsets=np.arange(NUM_USERS + 1, dtype=np.int64) * EVENTS_PER_USER,
        user_code=np.arange(1, NUM_USERS + 1, dtype=np.int32),
        gender_code=np.ones(NUM_USERS, dtype=np.int32),
        age=np.full(NUM_USERS, 30.0),
        subject=subject,
        item_row=(of_category * NUM_CATEGORIES + subject % NUM_CATEGORIES).astype(np.int32),
        timestamp=timestamp.astype(np.int64),
        day=day.astype(np.int32),
        device_code=np.ones(total, dtype=np.int32),
        top_category=category,
        top_category_long=category,
        positive=yes,
        seen=yes,
        mask=np.where(rng.random(total) < 0.1, 3, 0).astype(np.uint8),
        mask_device=no,
        mask_item=rng.random(total) < 0.1,
        label=(of_category % 2).astype(np.float32),
    )


@pytest.fixture(scope="session")
def toy_data(
    toy_events: EventTable, toy_items: ItemFeatures, toy_encoded_id: np.ndarray, toy_transforms: FittedTransforms
) -> WorkerData:
    return WorkerData(
        events=toy_events,
        items=toy_items,
        encoded_id=toy_encoded_id,
        transforms=toy_transforms,
        first_day=FIRST_DAY,
        num_days=NUM_DAYS,
        train_rows=toy_events.rows_between(FIRST_DAY, TRAIN_END_DAY),
        labelled_rows=toy_events.rows_between(FIRST_DAY, TRAIN_END_DAY),
        validation_rows=toy_events.rows_between(TRAIN_END_DAY + 1, TRAIN_END_DAY + 1),
    )
