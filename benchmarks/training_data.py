"""Random events of the reference's size for measuring training, without patterns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from contracts import columns as c
from contracts.catalogue import ItemFeatures
from contracts.encoded import EncodedColumns
from contracts.encoders import NumberFit, Values
from contracts.presets import AGE_EDGES, ITEM_GENDER, PRICE_LOG_NORM, SHOP
from contracts.schema import SideLayout
from contracts.transforms import FittedTransforms
from contracts.vocabulary import Vocabulary
from training.features.events import EventTable, context_of, profile_of
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
    transforms = _transforms(sizes)
    events = _events(sizes, rng, transforms)
    rows = events.rows_between(FIRST_DAY, FIRST_DAY + NUM_DAYS)
    return WorkerData(
        events=events,
        items=_items(sizes, rng),
        encoded_id=np.arange(1, sizes.num_items + 1, dtype=np.int32),
        transforms=transforms,
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
    numbers = {
        "age_binned": NumberFit(edges=AGE_EDGES),
        "age_norm": NumberFit(fill=35.0, mean=40.0, std=12.0),
        PRICE_LOG_NORM: NumberFit(fill=3.0, mean=3.0),
    }
    return FittedTransforms(SHOP, vocabularies, numbers, "UTC")


def _items(sizes: Sizes, rng: np.random.Generator) -> ItemFeatures:
    count = sizes.num_items
    codes = np.stack([rng.integers(1, high, count) for high in (21, 85, 4)], axis=1)
    numbers, text, image = (
        rng.normal(size=(count, width)).astype(np.float32) for width in (1, EMBEDDING_DIM, EMBEDDING_DIM)
    )
    columns = EncodedColumns(SHOP.digest, codes.astype(np.int32), numbers, vectors=(text, image))
    return ItemFeatures(columns, np.zeros(count, dtype=np.int64))


def _events(sizes: Sizes, rng: np.random.Generator, transforms: FittedTransforms) -> EventTable:
    users, total = sizes.num_users, sizes.num_users * sizes.events_per_user
    popularity = 1 / np.arange(1, sizes.num_items + 1) ** 0.7
    timestamp = np.sort(rng.integers(0, NUM_DAYS * 86_400, (users, sizes.events_per_user)), axis=1).ravel()
    timestamp += FIRST_DAY * 86_400
    yes = np.ones(total, dtype=bool)
    ids, genders = transforms.vocabularies[c.USER_ID].tokens, transforms.vocabularies[c.GENDER].tokens
    told: dict[str, Values] = {
        c.USER_ID: tuple(ids),
        c.GENDER: [genders[code] for code in rng.integers(0, 2, users).tolist()],
        c.AGE: rng.integers(16, 80, users).astype(np.float64),
    }
    profile, context = profile_of(SHOP), context_of(SHOP)
    context_codes = np.stack([rng.integers(low, high, total) for low, high in ((0, 21), (0, 21), (1, 4))], axis=1)
    return EventTable(
        subject_ids=np.arange(users).astype(object),
        offsets=np.arange(users + 1, dtype=np.int64) * sizes.events_per_user,
        profile=transforms.columns(profile, told, users),
        profile_names=SideLayout.of(profile),
        subject=np.repeat(np.arange(users, dtype=np.int32), sizes.events_per_user),
        item_row=rng.choice(sizes.num_items, total, p=popularity / popularity.sum()).astype(np.int32),
        timestamp=timestamp,
        day=(timestamp // 86_400).astype(np.int32),
        context=EncodedColumns(SHOP.digest, context_codes.astype(np.int32), np.zeros((total, 0), dtype=np.float32)),
        context_names=SideLayout.of(context),
        positive=yes,
        seen=yes,
        mask=np.where(rng.random(total) < 0.05, 2, 0).astype(np.uint8),
        mask_device=rng.random(total) < 0.05,
        mask_item=rng.random(total) < 0.05,
    )
