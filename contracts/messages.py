"""Batch-first messages between stages. Frozen, checked at construction, small: rows and scores, never features.

B = requests in the batch, N = history length, T = candidates of all requests, one after the other (ragged).
Every message carries the bundle version that it belongs to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from contracts.encoded import EncodedColumns
from contracts.features import History
from contracts.ids import BoolArray, FloatArray, IntArray, LongArray, check_array, subject_of
from contracts.options import ItemFilters, Ragged, RerankingOptions

ContextValue = str | float | tuple[str | float, ...] | None
"""A value in the context of a request; its type follows from the kind of its column."""


@dataclass(frozen=True)
class RequestBatch:
    """A batch of requests for the pipeline.

    Attributes:
        bundle_version: set by the gateway; every stage answers with this version or refuses the batch.
        now: the clock's now, Unix seconds, for history, eligibility and item age.
        request_ids: one a request.
        user_ids: raw ids; None = anonymous.
        session_ids: raw ids; the subject of a request without a user id.
        recent_items: raw item ids that the client reports, newest last; appended to the stored history.
        context: raw values by column of the schema's context, one a request; None = unknown. A missing column is
            unknown for all requests.
        context_time: [B] int64 Unix seconds, for hour and weekday only.
        k: [B] int32, items wanted.
        budget_ms: [B] float32, milliseconds that a request has left when the batch starts.
        filters: of the requests that have any; None = no request has.
        provided: B lists of distinct ItemRows to rank instead of retrieved candidates; None = retrieve.
        reranking: options of the final lists; None = greedy.
    """

    bundle_version: str
    now: int
    request_ids: tuple[str, ...]
    user_ids: tuple[str | None, ...]
    session_ids: tuple[str | None, ...]
    recent_items: tuple[tuple[str, ...], ...]
    context: Mapping[str, tuple[ContextValue, ...]]
    context_time: LongArray
    k: IntArray
    budget_ms: FloatArray
    filters: ItemFilters | None = None
    provided: Ragged | None = None
    reranking: RerankingOptions | None = None

    def __post_init__(self) -> None:
        size = len(self.request_ids)
        by_name = {name: getattr(self, name) for name in ("user_ids", "session_ids", "recent_items")}
        for name, values in (by_name | dict(self.context)).items():
            if len(values) != size:
                raise ValueError(f"{name} has {len(values)} entries, expected {size}, one a request")
        check_array("context_time", self.context_time, (size,), np.int64)
        check_array("k", self.k, (size,), np.int32)
        check_array("budget_ms", self.budget_ms, (size,), np.float32)
        for name, lists in {"provided": self.provided, "reranking": self.reranking}.items():
            if lists is not None and len(lists) != size:
                raise ValueError(f"{name} has {len(lists)} entries, expected {size}, one a request")

    def __len__(self) -> int:
        return len(self.request_ids)

    @classmethod
    def anonymous(cls, bundle_version: str, now: int, k: IntArray) -> RequestBatch:
        """Anonymous requests for k [B] items each, without filters or time limit: for measurements and warm-up."""
        size = len(k)
        nothing = (None,) * size
        return cls(
            bundle_version=bundle_version,
            now=now,
            request_ids=("",) * size,
            user_ids=nothing,
            session_ids=nothing,
            recent_items=((),) * size,
            context={},
            context_time=np.zeros(size, dtype=np.int64),
            k=k,
            budget_ms=np.full(size, np.inf, dtype=np.float32),
        )

    @property
    def subjects(self) -> tuple[str | None, ...]:
        """The subject of each request: its user, else its session, else None."""
        return tuple(map(subject_of, self.user_ids, self.session_ids))


@dataclass(frozen=True)
class QueryFeatures:
    """Model inputs of the query side.

    Attributes:
        bundle_version: the version whose transforms made them.
        now: [B] int64 Unix seconds; eligibility and item age are as of this time.
        columns: encoded columns of the query side.
        history: the last N interactions, newest first.
    """

    bundle_version: str
    now: LongArray
    columns: EncodedColumns
    history: History

    def __post_init__(self) -> None:
        size = len(self.now)
        check_array("now", self.now, (size,), np.int64)
        if (len(self.columns), len(self.history.rows)) != (size, size):
            raise ValueError(
                f"columns are of {len(self.columns)} queries and history of {len(self.history.rows)}, expected {size}"
            )

    def __len__(self) -> int:
        return len(self.now)

    def take(self, queries: LongArray) -> QueryFeatures:
        """Some of the queries, by places."""
        return QueryFeatures(
            self.bundle_version,
            self.now[queries],
            self.columns.take(queries),
            self.history.take(queries),
        )


@dataclass(frozen=True)
class Candidates:
    """Ragged candidates: those of request b are `rows[offsets[b]:offsets[b + 1]]`.

    Attributes:
        bundle_version: the version of the ItemRows.
        rows: [T] int32 ItemRow.
        scores: [T] float32, of retrieval or, after ranking, of the ranker.
        lengths: [B] int32, summing to T.
    """

    bundle_version: str
    rows: IntArray
    scores: FloatArray
    lengths: IntArray

    def __post_init__(self) -> None:
        check_array("lengths", self.lengths, (len(self.lengths),), np.int32)
        total = int(self.lengths.sum())
        check_array("rows", self.rows, (total,), np.int32)
        check_array("scores", self.scores, (total,), np.float32)

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def offsets(self) -> LongArray:
        """[B + 1] int64 starts and ends."""
        return np.concatenate([[0], np.cumsum(self.lengths, dtype=np.int64)])

    @property
    def owners(self) -> LongArray:
        """[T] int64: the request that each candidate belongs to."""
        return np.repeat(np.arange(len(self.lengths)), self.lengths)

    def where(self, mask: BoolArray) -> Candidates:
        """The candidates under a mask [T], in their order."""
        lengths = np.bincount(self.owners[mask], minlength=len(self)).astype(np.int32)
        return Candidates(self.bundle_version, self.rows[mask], self.scores[mask], lengths)

    def with_scores(self, scores: FloatArray) -> Candidates:
        """The same rows with other scores [T]."""
        return replace(self, scores=scores)


@dataclass(frozen=True)
class Pairs:
    """T candidates of B queries as a ranker reads them, with the features that depend on both.

    Attributes:
        owners: [T] int64, ascending: the query of each candidate.
        rows: [T] int32 ItemRows, or places among items that are passed with the call.
        retrieval_scores: [T] float32.
        age_bucket: [T] int32, `contracts.features.item_age_bucket` at the time of the query.
        popularity: [T] float32 at the start of the query's day; None if the ranker does not read it.
        columns: [T] of the pair side; None if the schema has none.
    """

    owners: LongArray
    rows: IntArray
    retrieval_scores: FloatArray
    age_bucket: IntArray
    popularity: FloatArray | None = None
    columns: EncodedColumns | None = None

    def __post_init__(self) -> None:
        size = len(self.owners)
        check_array("owners", self.owners, (size,), np.int64)
        check_array("rows", self.rows, (size,), np.int32)
        check_array("retrieval_scores", self.retrieval_scores, (size,), np.float32)
        check_array("age_bucket", self.age_bucket, (size,), np.int32)
        for name, values in (("popularity", self.popularity), ("columns", self.columns)):
            if values is not None and len(values) != size:
                raise ValueError(f"{name} is of {len(values)} candidates, expected {size}")

    def __len__(self) -> int:
        return len(self.owners)


@dataclass(frozen=True)
class FilterResult:
    """The result of a filter: every candidate is either kept or removed.

    Attributes:
        candidates: the filtered candidates.
        keep: [T] bool.
        reason: of the removals.
    """

    candidates: Candidates
    keep: BoolArray
    reason: str

    def __post_init__(self) -> None:
        check_array("keep", self.keep, self.candidates.rows.shape, np.bool_)

    @classmethod
    def unfiltered(cls, candidates: Candidates) -> FilterResult:
        """Keeps all candidates: the filter was left out."""
        return cls(candidates, np.ones(len(candidates.rows), dtype=np.bool_), "nothing")

    @property
    def kept(self) -> Candidates:
        """The kept candidates."""
        return self.candidates.where(self.keep)

    @property
    def removed(self) -> Candidates:
        """The removed candidates."""
        return self.candidates.where(~self.keep)


@dataclass(frozen=True)
class Reranked:
    """Final lists.

    Attributes:
        items: best first within a request; scores are sigmoids of the ranker's logits.
        propensities: [T] float32: the probability that an item was picked at its place, after the picks before it; 1 in
            greedy lists.
    """

    items: Candidates
    propensities: FloatArray

    def __post_init__(self) -> None:
        check_array("propensities", self.propensities, self.items.rows.shape, np.float32)

    def __len__(self) -> int:
        return len(self.items)


@dataclass(frozen=True)
class PipelineResult:
    """The ranked items of every request, with measurements.

    Attributes:
        ranked: best first within a request; scores are sigmoids of the ranker's logits.
        propensities: of the ranked items, see `Reranked`.
        scored: the candidates that reranking picked from, with the ranker's logits.
        retrieved: the retrieved candidates before any filter.
        degraded: per request, names of stages and stores that were replaced or left out.
        stage_ms: wall milliseconds by stage name.
        removed: numbers of removed candidates in the batch by reason.
    """

    ranked: Candidates
    propensities: FloatArray
    scored: Candidates
    retrieved: Candidates
    degraded: tuple[tuple[str, ...], ...]
    stage_ms: dict[str, float] = field(default_factory=dict)
    removed: dict[str, int] = field(default_factory=dict)


SeenMask = Callable[[Candidates], BoolArray]
"""Which candidates [T] the subjects of their requests have seen; evaluation passes exact sets."""
