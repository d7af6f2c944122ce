"""Events of the reference's shape to measure training on: drawn at random, nothing to learn, all sizes right."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from contracts import columns as c
from contracts.catalogue import ItemFeatures
from contracts.features import ITEM_GENDER
from contracts.transforms import FittedTransforms
from contracts.vocabulary import Vocabulary
from training.features.events import EventTable
from training.trainers.data import WorkerData

FIRST_DAY, NUM_DAYS = 20_000, 9
EMBEDDING_DIM = 64


@dataclass(frozen=True)
class Sizes:
    """How large the shop is."""

    num_users: int
    num_items: int = 2_465
    events_per_user: int = 10


REFERENCE = Sizes(300_000)
QUICK = Sizes(3_000, 500)


def random_shop(sizes: Sizes, seed: int = 0) -> WorkerData:
    """One worker's data: every event is a training row."""
    rng = np.random.default_rng(seed)
    events = _events(sizes, rng)
    rows = events.rows_between(FIRST_DAY, FIRST_DAY + NUM_DAYS)
    return WorkerData(
        events=events,
        items=_items(sizes, rng),
        encoded_id=np.arange(1, sizes.num_items + 1, dtype=np.int32),
        transforms=_transforms(sizes),
        first_day=FIRST_DAY,
        num_days=NUM_DAYS,
        train_rows=rows,
        labelled_rows=rows[:0],
        validation_rows=rows[:0],
    )


def _transforms(sizes: Sizes) -> FittedTransforms:
    counts = {c.USER_ID: sizes.num_users, c.ITEM_ID: sizes.num_items, c.GENDER: 2, c.DEVICE_TYPE: 3}
    counts |= {c.CATEGORY_L1: 20, c.CATEGORY_L2: 84, ITEM_GENDER: 3}
    vocabularies = {name: Vocabulary(tuple(map(str, range(count)))) for name, count in counts.items()}
    return FittedTransforms(vocabularies, 35.0, 40.0, 12.0, 3.0, 1.0, "UTC")


def _items(sizes: Sizes, rng: np.random.Generator) -> ItemFeatures:
    count = sizes.num_items
    categorical = np.stack([rng.integers(1, high, count) for high in (21, 85, 4)], axis=1)
    continuous, text, image = (
        rng.normal(size=(count, width)).astype(np.float32) for width in (1, EMBEDDING_DIM, EMBEDDING_DIM)
    )
    return ItemFeatures(categorical.astype(np.int32), continuous, text, image, np.zeros(count, dtype=np.int64))


def _events(sizes: Sizes, rng: np.random.Generator) -> EventTable:
    users, total = sizes.num_users, sizes.num_users * sizes.events_per_user
    popularity = 1 / np.arange(1, sizes.num_items + 1) ** 0.7
    timestamp = np.sort(rng.integers(0, NUM_DAYS * 86_400, (users, sizes.events_per_user)), axis=1).ravel()
    timestamp += FIRST_DAY * 86_400
    yes = np.ones(total, dtype=bool)
    return EventTable(
        subject_ids=np.arange(users).astype(object),
        offsets=np.arange(users + 1, dtype=np.int64) * sizes.events_per_user,
        user_code=np.arange(1, users + 1, dtype=np.int32),
        gender_code=rng.integers(1, 3, users).astype(np.int32),
        age=rng.integers(16, 80, users).astype(np.float64),
        subject=np.repeat(np.arange(users, dtype=np.int32), sizes.events_per_user),
        item_row=rng.choice(sizes.num_items, total, p=popularity / popularity.sum()).astype(np.int32),
        timestamp=timestamp,
        day=(timestamp // 86_400).astype(np.int32),
        device_code=rng.integers(1, 4, total).astype(np.int32),
        top_category=rng.integers(0, 21, total).astype(np.int32),
        top_category_long=rng.integers(0, 21, total).astype(np.int32),
        positive=yes,
        seen=yes,
        mask=np.where(rng.random(total) < 0.05, 2, 0).astype(np.uint8),
        mask_device=rng.random(total) < 0.05,
        mask_item=rng.random(total) < 0.05,
    )
