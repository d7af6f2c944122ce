"""A shop small enough to train on in a second: every user keeps to one category."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from contracts import columns as c
from contracts.catalogue import ItemFeatures
from contracts.encoded import EncodedColumns
from contracts.encoders import NumberFit
from contracts.presets import AGE_EDGES, PRICE_LOG_NORM, SHOP
from contracts.schema import SideLayout
from contracts.transforms import FittedTransforms, vocabulary_names
from contracts.vocabulary import Vocabulary
from training.features.events import EventTable, context_of, profile_of
from training.models.inputs import ItemTensors
from training.models.schema import ModelSchema
from training.trainers.data import WorkerData

NUM_ITEMS, NUM_USERS, NUM_CATEGORIES, EVENTS_PER_USER = 30, 40, 3, 28
FIRST_DAY, TRAIN_END_DAY, NUM_DAYS = 20_000, 20_011, 14


@pytest.fixture(scope="session")
def toy_transforms() -> FittedTransforms:
    tokens = {name: tuple(f"{name}{number}" for number in range(NUM_CATEGORIES)) for name in vocabulary_names(SHOP)}
    tokens[c.USER_ID] = tuple(f"u{number}" for number in range(NUM_USERS))
    tokens[c.ITEM_ID] = tuple(f"i{number}" for number in range(NUM_ITEMS - 2))
    numbers = {
        "age_binned": NumberFit(edges=AGE_EDGES),
        "age_norm": NumberFit(fill=30.0, mean=40.0, std=10.0),
        PRICE_LOG_NORM: NumberFit(fill=2.0, mean=2.0, std=1.0),
    }
    return FittedTransforms(SHOP, {name: Vocabulary(words) for name, words in tokens.items()}, numbers, "UTC")


@pytest.fixture(scope="session")
def toy_items() -> ItemFeatures:
    """The last two items are new: they launch on day 10 and have no encoded id."""
    rng = np.random.default_rng(1)
    category = np.arange(NUM_ITEMS) % NUM_CATEGORIES + 1
    launched_at = np.zeros(NUM_ITEMS, dtype=np.int64)
    launched_at[-2:] = (FIRST_DAY + 10) * 86_400
    text = np.eye(NUM_CATEGORIES + 1)[category] + rng.normal(0, 0.1, (NUM_ITEMS, NUM_CATEGORIES + 1))
    columns = EncodedColumns(
        SHOP.digest,
        np.stack([category, category, np.ones(NUM_ITEMS)], axis=1).astype(np.int32),
        rng.normal(size=(NUM_ITEMS, 1)).astype(np.float32),
        vectors=(text.astype(np.float32), rng.normal(size=(NUM_ITEMS, 3)).astype(np.float32)),
    )
    return ItemFeatures(columns, launched_at)


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
def toy_events(toy_transforms: FittedTransforms) -> EventTable:
    rng = np.random.default_rng(2)
    total = NUM_USERS * EVENTS_PER_USER
    subject = np.repeat(np.arange(NUM_USERS, dtype=np.int32), EVENTS_PER_USER)
    of_category = rng.integers(0, (NUM_ITEMS - 2) // NUM_CATEGORIES, total)
    day = np.tile(np.arange(EVENTS_PER_USER) * NUM_DAYS // EVENTS_PER_USER, NUM_USERS) + FIRST_DAY
    timestamp = day * 86_400 + np.tile(np.arange(EVENTS_PER_USER) % 2, NUM_USERS) * 600 + 36_000
    yes, no = np.ones(total, dtype=bool), np.zeros(total, dtype=bool)
    users = [f"u{number}" for number in range(NUM_USERS)]
    profile, context = profile_of(SHOP), context_of(SHOP)
    told = {c.USER_ID: users, c.GENDER: ["gender0"] * NUM_USERS, c.AGE: np.full(NUM_USERS, 30.0)}
    category = [f"{c.CATEGORY_L1}{number % NUM_CATEGORIES}" for number in subject]
    done = {c.TOP_CATEGORY: category, c.TOP_CATEGORY_LONG: category, c.DEVICE_TYPE: [f"{c.DEVICE_TYPE}0"] * total}
    return EventTable(
        subject_ids=np.array(users, dtype=object),
        offsets=np.arange(NUM_USERS + 1, dtype=np.int64) * EVENTS_PER_USER,
        profile=toy_transforms.columns(profile, told, NUM_USERS),
        profile_names=SideLayout.of(profile),
        subject=subject,
        item_row=(of_category * NUM_CATEGORIES + subject % NUM_CATEGORIES).astype(np.int32),
        timestamp=timestamp.astype(np.int64),
        day=day.astype(np.int32),
        context=toy_transforms.columns(context, done, total),
        context_names=SideLayout.of(context),
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
