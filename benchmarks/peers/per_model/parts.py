"""Models of the reference that our stages contain.

The bundle has transformed item columns, which the ranker reads by ItemRow; so these models run only if each of the
fourteen models is a deployment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from contracts import columns as c
from contracts.bundle import Bundle
from contracts.encoded import EncodedColumns, joined
from contracts.feature import Feature, Side
from contracts.features import History
from contracts.ids import AnyArray, FloatArray, IntArray, LongArray
from contracts.messages import Candidates, QueryFeatures, RequestBatch
from contracts.options import ItemFilters, Ragged
from contracts.schema import FeatureSchema, SideLayout
from contracts.transforms import FittedTransforms
from contracts.user_records import UserRecords
from serving.stages.history import HistoryBuilder
from serving.stages.query_features import LookedUp, context_values, request_times, user_values
from serving.stages.retrieval import Retrieval
from serving.stages.version import refuse_other_version
from training.features.events import time_of
from training.models.item_popularity import ItemPopularity, pairs_of


@dataclass(frozen=True)
class QueryPart:
    """Some columns of the query side of B requests.

    Attributes:
        names: of the columns.
        columns: their values, [B].
        whole: names of all columns of the query side.
    """

    names: SideLayout
    columns: EncodedColumns
    whole: SideLayout

    @classmethod
    def of(cls, transforms: FittedTransforms, features: tuple[Feature, ...], values: Any, size: int) -> QueryPart:
        """The columns of some features, from raw values [B] by column."""
        columns = transforms.columns(features, values, size)
        return cls(SideLayout.of(features), columns, transforms.schema.layout(Side.QUERY))


@dataclass(frozen=True)
class UserInputs:
    """Columns and history of B users."""

    part: QueryPart
    history: History


@dataclass(frozen=True)
class ItemColumns:
    """Catalogue columns of U items, without text and picture.

    Attributes:
        encoded: their columns, [U].
        numbers: raw numbers [U] float64 by column; NaN = none.
    """

    encoded: EncodedColumns
    numbers: Mapping[str, AnyArray]


@dataclass(frozen=True)
class ItemInputs:
    """Model inputs of U items without text and picture: encoded id [U] int32 and columns [U]."""

    encoded_id: IntArray
    columns: EncodedColumns


@dataclass(frozen=True)
class Unrolled:
    """Inputs of the ranker for T candidates, beside their items.

    Attributes:
        owners: the query that each belongs to, [T] int64.
        ages: the item's age bucket at the query's time, [T] int32.
        popularity: the item's at the query's time, [T] float32; None if the ranker does not read it.
    """

    owners: LongArray
    ages: IntArray
    popularity: FloatArray | None = None


def context_features(schema: FeatureSchema) -> tuple[Feature, ...]:
    """Query features of model 1c: those of the context and the time."""
    times = time_of(schema)
    return tuple(one for one in schema.of(Side.QUERY) if one.origin == "context" or one in times)


def user_features(schema: FeatureSchema) -> tuple[Feature, ...]:
    """Query features of model 1b: those of the user and of the user's activity."""
    others = context_features(schema)
    return tuple(one for one in schema.of(Side.QUERY) if one not in others)


def stored_features(schema: FeatureSchema) -> tuple[Feature, ...]:
    """Item features that models 5a and 5b give; 5c has those of text and picture."""
    return tuple(one for one in schema.of(Side.ITEM) if one.origin != "derived")


def content_features(schema: FeatureSchema) -> tuple[Feature, ...]:
    """Item features that model 5c gives: text and picture."""
    return tuple(one for one in schema.of(Side.ITEM) if one.origin == "derived")


def fill_context(batch: RequestBatch) -> RequestBatch:
    """Model 0: a request without a time gets the present one; other values stay missing."""
    return replace(batch, context_time=request_times(batch))


class ContextTransform:
    """Context and time as model inputs; our stages compute them with the query features."""

    def __init__(self, transforms: FittedTransforms) -> None:
        self._transforms = transforms
        self._features = context_features(transforms.schema)

    def __call__(self, batch: RequestBatch) -> QueryPart:
        """Inputs of B requests."""
        return QueryPart.of(self._transforms, self._features, context_values(batch), len(batch))


class UserInputTransform:
    """Stored user features as model inputs; our stages compute them with the query features."""

    def __init__(self, bundle: Bundle) -> None:
        self._version = bundle.version
        self._transforms = bundle.transforms
        self._features = user_features(bundle.schema)
        self._history = HistoryBuilder.open(bundle)

    def __call__(self, batch: RequestBatch, records: UserRecords) -> UserInputs:
        """Inputs of B requests.

        Raises:
            BundleError: the batch is of another bundle version.
        """
        refuse_other_version(batch.bundle_version, self._version)
        return UserInputs(self.columns(batch, records), self._history(batch, records.recent))

    def columns(self, batch: RequestBatch, records: UserRecords) -> QueryPart:
        """The columns alone, without the history."""
        return QueryPart.of(self._transforms, self._features, user_values(batch, records), len(batch))


def join_query(batch: RequestBatch, records: UserRecords, user: UserInputs, context: QueryPart) -> LookedUp:
    """The query features from the outputs of models 1b and 1c."""
    parts = [(part.names, part.columns) for part in (user.part, context)]
    now = np.full(len(batch), batch.now, dtype=np.int64)
    features = QueryFeatures(batch.bundle_version, now, joined(parts, context.whole), user.history)
    return LookedUp(features, records.degraded)


class CandidateSearch:
    """Candidates for query embeddings of another deployment."""

    def __init__(self, bundle: Bundle, retrieval: Retrieval) -> None:
        self._version = bundle.version
        self._retrieval = retrieval

    def __call__(
        self,
        queries: QueryFeatures,
        embeddings: FloatArray,
        filters: ItemFilters | None = None,
        provided: Ragged | None = None,
    ) -> Candidates:
        """The answer of the stage; embeddings are [B, E].

        Raises:
            BundleError: the queries are of another bundle version.
        """
        refuse_other_version(queries.bundle_version, self._version)
        return self._retrieval.search(queries.now, embeddings, filters, provided)


class StoredItems:
    """Columns of items by ItemRow, from mapped arrays: encoded ids of categories, raw numbers."""

    def __init__(self, bundle: Bundle) -> None:
        self._features = stored_features(bundle.schema)
        layout, columns = bundle.schema.layout(Side.ITEM), bundle.items.columns
        vectors = dict(zip(layout.vectors, columns.vectors, strict=True))
        kept = tuple(vectors[name] for name in SideLayout.of(self._features).vectors)
        self._columns = replace(columns, vectors=kept)
        self._numbers = {name: values for name, values in bundle.values.items() if isinstance(values, np.ndarray)}

    def __call__(self, rows: IntArray) -> ItemColumns:
        """The columns of ItemRows [U]."""
        return ItemColumns(self._columns.take(rows), {name: numbers[rows] for name, numbers in self._numbers.items()})


class ItemTransform:
    """Item columns as model inputs; our stages read them from the bundle.

    Numbers without raw values in the bundle are taken as stored, and so are those within a category.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._transforms = bundle.transforms
        self._encoded_id = bundle.array("ranker/encoded_id")
        of_items = bundle.schema.of(Side.ITEM)
        self._features = tuple(
            one for one in of_items if one.numbers and one.column_name in bundle.values and one.encode.within is None
        )
        names = bundle.schema.layout(Side.ITEM).numbers
        self._places = [names.index(name) for one in self._features for name in one.numbers]

    def __call__(self, rows: IntArray, columns: ItemColumns) -> ItemInputs:
        """Inputs of ItemRows [U] and their columns."""
        numbers = columns.encoded.numbers.copy()
        numbers[:, self._places] = self.numbers(columns.numbers, len(rows))
        return ItemInputs(self._encoded_id[rows], replace(columns.encoded, numbers=numbers))

    def numbers(self, values: Mapping[str, AnyArray], size: int) -> FloatArray:
        """Encoded numbers [U, N] of the features that this encodes, from raw values [U] by column."""
        return self._transforms.columns(self._features, values, size).numbers


class Unroll:
    """The query of each candidate, and the candidate's age and popularity at the query's time.

    The ranker reads a query's features by its place, so they need not be copied.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._launched_at = bundle.items.launched_at
        self._popularity = ItemPopularity.open(bundle)

    def __call__(self, queries: QueryFeatures, candidates: Candidates) -> Unrolled:
        """One entry per candidate [T]."""
        pairs = pairs_of(queries, candidates, self._launched_at, self._popularity)
        return Unrolled(pairs.owners, pairs.age_bucket, pairs.popularity)


class ItemDecoder:
    """Raw ids of ranked items; in our stages the gateway reads them with the metadata."""

    def __init__(self, bundle: Bundle) -> None:
        self._raw_ids = bundle.strings(f"items/{c.ITEM_ID}")

    def __call__(self, candidates: Candidates) -> list[str | None]:
        """Raw ids [T]."""
        return [self._raw_ids[row] for row in candidates.rows.tolist()]
