"""Random events of the reference's size for measuring training, without patterns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from contracts import columns as c
from contracts.catalogue import ItemFeatures
from contracts.encoded import EncodedColumns
from contracts.encoders import NumberFit, Values
from contracts.feature import FeatureKind, Side
from contracts.presets import ITEM_GENDER, FeaturesConfig
from contracts.schema import FeatureSchema, SideLayout
from contracts.transforms import FittedTransforms, vocabulary_names
from contracts.vocabulary import Vocabulary
from training.features.events import EventTable, context_of, profile_of
from training.trainers.data import WorkerData

FIRST_DAY, NUM_DAYS = 20_000, 9
EMBEDDING_DIM = 64
_CATEGORIES: Final = 20
"""Of a declared column."""


@dataclass(frozen=True)
class Sizes:
    """How large the shop is."""

    num_users: int
    num_items: int = 2_465
    events_per_user: int = 10


REFERENCE = Sizes(300_000)
QUICK = Sizes(3_000, 500)


def random_shop(sizes: Sizes, seed: int = 0, *, columns: Sequence[Mapping[str, Any]] = ()) -> WorkerData:
    """One worker's data: every event is a training row.

    Args:
        sizes: of the shop.
        seed: of the draw.
        columns: entries of `features.columns`.
    """
    rng = np.random.default_rng(seed)
    transforms = _transforms(sizes, FeaturesConfig.model_validate({"columns": columns}).to_schema())
    events = _events(sizes, rng, transforms)
    rows = events.rows_between(FIRST_DAY, FIRST_DAY + NUM_DAYS)
    return WorkerData(
        events=events,
        items=_items(sizes, rng, transforms),
        encoded_id=np.arange(1, sizes.num_items + 1, dtype=np.int32),
        transforms=transforms,
        first_day=FIRST_DAY,
        num_days=NUM_DAYS,
        train_rows=rows,
        labelled_rows=rows[:0],
        validation_rows=rows[:0],
    )


def _transforms(sizes: Sizes, schema: FeatureSchema) -> FittedTransforms:
    counts = {c.USER_ID: sizes.num_users, c.ITEM_ID: sizes.num_items, c.GENDER: 2, c.DEVICE_TYPE: 3}
    counts |= {c.CATEGORY_L1: 20, c.CATEGORY_L2: 84, ITEM_GENDER: 3}
    vocabularies = {
        name: Vocabulary(tuple(map(str, range(counts.get(name, _CATEGORIES))))) for name in vocabulary_names(schema)
    }
    numbers = {
        feature.name: NumberFit(edges=_edges(feature.encode.bins), fill=35.0, mean=40.0, std=12.0)
        for feature in schema.features
        if feature.kind is FeatureKind.NUMERIC
    }
    return FittedTransforms(schema, vocabularies, numbers, "UTC")


def _edges(bins: int | tuple[float, ...] | None) -> tuple[float, ...]:
    return tuple(map(float, range(1, bins))) if isinstance(bins, int) else bins or ()


def _items(sizes: Sizes, rng: np.random.Generator, transforms: FittedTransforms) -> ItemFeatures:
    count, layout = sizes.num_items, transforms.schema.layout(Side.ITEM)
    codes = np.stack([rng.integers(1, transforms.cardinality(name), count) for name in layout.codes], axis=1)
    numbers, *vectors = (
        rng.normal(size=(count, width)).astype(np.float32)
        for width in (len(layout.numbers), *(EMBEDDING_DIM for _ in layout.vectors))
    )
    columns = EncodedColumns(transforms.schema.digest, codes.astype(np.int32), numbers, vectors=tuple(vectors))
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
    profile, context = profile_of(transforms.schema), context_of(transforms.schema)
    names = SideLayout.of(context)
    codes = np.stack([rng.integers(0, transforms.cardinality(name), total) for name in names.codes], axis=1)
    return EventTable(
        subject_ids=np.arange(users).astype(object),
        offsets=np.arange(users + 1, dtype=np.int64) * sizes.events_per_user,
        profile=transforms.columns(profile, told, users),
        profile_names=SideLayout.of(profile),
        subject=np.repeat(np.arange(users, dtype=np.int32), sizes.events_per_user),
        item_row=rng.choice(sizes.num_items, total, p=popularity / popularity.sum()).astype(np.int32),
        timestamp=timestamp,
        day=(timestamp // 86_400).astype(np.int32),
        context=EncodedColumns(
            transforms.schema.digest, codes.astype(np.int32), np.zeros((total, len(names.numbers)), dtype=np.float32)
        ),
        context_names=names,
        positive=yes,
        seen=yes,
        mask=np.where(rng.random(total) < 0.05, 2, 0).astype(np.uint8),
        mask_device=rng.random(total) < 0.05,
        mask_item=rng.random(total) < 0.05,
    )
