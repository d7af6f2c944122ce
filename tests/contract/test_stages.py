"""The suite that every stage inherits."""

from __future__ import annotations

import asyncio
import dataclasses
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from contracts.bundle import Bundle
from contracts.errors import BundleError
from contracts.messages import Candidates, FilterResult, QueryFeatures, RequestBatch, Reranked
from contracts.options import NO_CAP, Constraints, Ragged, RerankOptions
from serving.pipeline import Fallbacks
from serving.running.steps import PipelineConfig
from serving.stages.popular import PopularItems
from serving.stages.query_features import LookedUp, QueryFeatureBuilder, QueryFeatureStage
from serving.stages.ranking import Ranking
from serving.stages.reranking import Reranking
from serving.stages.retrieval import Retrieval, RetrievalConfig
from serving.stages.seen_filter import SeenFilter
from serving.stages.user_lookup import UserLookup
from tests.fixtures.fake_stores import RECENT, SEEN, TODAY, FakeRecentItems, FakeSeenRings, FakeUserFeatures
from tests.fixtures.served_bundle import VERSION, request_batch

BATCH = 32


def batch_of(*places: int, version: str = VERSION) -> RequestBatch:
    """Some of 32 different requests."""
    sessions = tuple("s1" if place % 4 == 3 else None for place in range(BATCH))
    users = tuple(None if place % 4 == 3 else f"u{place % 6}" for place in range(BATCH))
    recent = tuple(("i2", "i4")[: place % 3] for place in range(BATCH))
    return request_batch(
        len(places),
        bundle_version=version,
        user_ids=tuple(users[place] for place in places),
        session_ids=tuple(sessions[place] for place in places),
        recent_items=tuple(recent[place] for place in places),
        device_types=tuple(("mobile", "desktop", None)[place % 3] for place in places),
        k=np.array([place % 5 + 1 for place in places], dtype=np.int32),
    )


def queries_of(bundle: Bundle, *places: int) -> QueryFeatures:
    return Fallbacks.open(bundle, 1).anonymous(batch_of(*places)).features


def candidates_of(*places: int, version: str = VERSION) -> Candidates:
    """Candidates of some of 32 requests; every fifth has none."""
    parts = []
    for place in places:
        rng = np.random.default_rng(place)
        rows = rng.permutation(40)[: 0 if place % 5 == 4 else 10 + place % 7].astype(np.int32)
        parts.append((rows, rng.normal(size=len(rows)).astype(np.float32)))
    lengths = np.array([len(rows) for rows, _ in parts], dtype=np.int32)
    rows, scores = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return Candidates(version, rows, scores, lengths)


def limits_of(*places: int) -> Constraints | None:
    """Limits of every second request."""
    some = [at for at, place in enumerate(places) if place % 2]
    if not some:
        return None
    numbers = [places[at] for at in some]
    return Constraints(
        requests=np.array(some, dtype=np.int32),
        excluded=Ragged.of([range(number) for number in numbers]),
        codes=(Ragged.of([[1 + number % 3] for number in numbers]), *(Ragged.of([[] for _ in some]) for _ in range(2))),
        prices=np.array([(number % 5, np.inf) for number in numbers], dtype=np.float64),
    )


def arrays_of(message: Any) -> dict[str, np.ndarray]:
    """All arrays of a message and of the messages in it, by path."""
    found: dict[str, np.ndarray] = {}
    for field in dataclasses.fields(message):
        value = getattr(message, field.name)
        if isinstance(value, np.ndarray):
            found[field.name] = value
        elif dataclasses.is_dataclass(value):
            found |= {f"{field.name}.{name}": array for name, array in arrays_of(value).items()}
    return found


def parts_of(answer: Any) -> list[dict[str, np.ndarray]]:
    """An answer cut into its requests."""
    if isinstance(answer, Reranked):
        return [
            {**part, "propensities": chances}
            for part, chances in zip(
                parts_of(answer.items), np.split(answer.propensities, answer.items.offsets[1:-1]), strict=True
            )
        ]
    if isinstance(answer, FilterResult):
        return [
            {"kept": kept["rows"], "kept_scores": kept["scores"], "removed": removed["rows"]}
            for kept, removed in zip(parts_of(answer.kept), parts_of(answer.removed), strict=True)
        ]
    if isinstance(answer, Candidates):
        ends = answer.offsets
        return [{"rows": answer.rows[start:end], "scores": answer.scores[start:end]} for start, end in pairwise(ends)]
    return [{name: array[place] for name, array in arrays_of(answer).items()} for place in range(len(answer.features))]


def call(stage: Any, *messages: Any) -> Any:
    answer = stage(*messages)
    return asyncio.run(answer) if asyncio.iscoroutine(answer) else answer


class StageContract:
    """What every stage keeps to; a test class a group gives the stage and its messages."""

    def stage(self, bundle: Bundle) -> Any:
        raise NotImplementedError

    def messages(self, bundle: Bundle, *places: int, version: str = VERSION) -> tuple[Any, ...]:
        raise NotImplementedError

    def call(self, bundle: Bundle, *messages: Any) -> Any:
        return call(self.stage(bundle), *messages)

    def test_a_batch_of_one_equals_its_part_of_a_batch_of_32(self, bundle: Bundle) -> None:
        stage = self.stage(bundle)
        together = parts_of(call(stage, *self.messages(bundle, *range(BATCH))))
        for place in range(BATCH):
            (alone,) = parts_of(call(stage, *self.messages(bundle, place)))
            for name, expected in alone.items():
                np.testing.assert_allclose(together[place][name], expected, atol=1e-5, err_msg=f"{name} of {place}")

    def test_messages_are_left_as_they_are(self, bundle: Bundle) -> None:
        messages = self.messages(bundle, *range(BATCH))
        before = [{name: array.copy() for name, array in arrays_of(m).items()} for m in messages if not is_array(m)]
        for message in messages:
            for array in [message] if is_array(message) else arrays_of(message).values():
                array.flags.writeable = False
        self.call(bundle, *messages)
        for message, arrays in zip([m for m in messages if not is_array(m)], before, strict=True):
            for name, array in arrays_of(message).items():
                np.testing.assert_array_equal(array, arrays[name])

    def test_no_item_comes_from_nowhere(self, bundle: Bundle) -> None:
        messages = self.messages(bundle, *range(BATCH))
        given = next((m for m in messages if isinstance(m, Candidates)), None)
        answer = self.call(bundle, *messages)
        if given is None:
            return
        found = [answer.kept, answer.removed] if isinstance(answer, FilterResult) else [answer]
        for place, (before, *after) in enumerate(zip(parts_of(given), *map(parts_of, found), strict=True)):
            rows = np.concatenate([part["rows"] for part in after])
            assert len(set(rows)) == len(rows)
            assert set(rows) <= set(before["rows"]), f"request {place}"
            if not isinstance(self.stage(bundle), Reranking):
                assert sorted(rows) == sorted(before["rows"]), f"request {place}"


class VersionedStageContract(StageContract):
    """Stages that hold a bundle serve its messages only."""

    def test_another_bundle_is_refused(self, bundle: Bundle) -> None:
        with pytest.raises(BundleError, match=r"asked for bundle 'other', this replica serves 'tiny-1'"):
            self.call(bundle, *self.messages(bundle, 0, version="other"))


def is_array(message: Any) -> bool:
    return isinstance(message, np.ndarray)


class TestQueryFeatures(VersionedStageContract):
    def stage(self, bundle: Bundle) -> QueryFeatureStage:
        users = FakeUserFeatures({"u1": (30.0, "F", "books", "shoes"), "u2": (None, None, "toys", None)})
        lookup = UserLookup(users, FakeRecentItems(RECENT), PipelineConfig())
        return QueryFeatureStage(lookup, QueryFeatureBuilder.open(bundle))

    def messages(self, bundle: Bundle, *places: int, version: str = VERSION) -> tuple[RequestBatch]:
        return (batch_of(*places, version=version),)

    def test_every_request_gets_features(self, bundle: Bundle) -> None:
        answer = self.call(bundle, batch_of(*range(BATCH)))
        assert isinstance(answer, LookedUp)
        assert len(answer.features) == len(answer.degraded) == BATCH


class TestRetrieval(VersionedStageContract):
    def stage(self, bundle: Bundle) -> Retrieval:
        return Retrieval.open(bundle, RetrievalConfig(retrieval_k=20))

    def messages(self, bundle: Bundle, *places: int, version: str = VERSION) -> tuple[QueryFeatures]:
        return (dataclasses.replace(queries_of(bundle, *places), bundle_version=version),)


class TestLimitedRetrieval(TestRetrieval):
    """Every second request limits itself to some items."""

    def messages(self, bundle: Bundle, *places: int, version: str = VERSION) -> tuple[Any, ...]:
        return *super().messages(bundle, *places, version=version), limits_of(*places)


class TestGivenItems(TestRetrieval):
    """Retrieval scores given items."""

    def messages(self, bundle: Bundle, *places: int, version: str = VERSION) -> tuple[Any, ...]:
        given = Ragged.of([candidates_of(place).rows for place in places])
        return *super().messages(bundle, *places, version=version), limits_of(*places), given


class TestPopularItems(TestLimitedRetrieval):
    """The stand-in of retrieval."""

    def stage(self, bundle: Bundle) -> PopularItems:
        return PopularItems.open(bundle, 20)

    def test_another_bundle_is_refused(self, bundle: Bundle) -> None:
        assert self.stage(bundle)(queries_of(bundle, 0)).bundle_version == VERSION


class TestSeenFilter(VersionedStageContract):
    def stage(self, bundle: Bundle) -> SeenFilter:
        return SeenFilter.open(bundle)

    def messages(self, bundle: Bundle, *places: int, version: str = VERSION) -> tuple[Any, ...]:
        rings = FakeSeenRings(SEEN, TODAY).rings(batch_of(*places).subjects)
        return candidates_of(*places, version=version), rings

    def test_no_candidates_at_all(self, bundle: Bundle) -> None:
        result = self.call(bundle, *self.messages(bundle, 4))
        assert (result.kept.lengths.tolist(), result.removed.lengths.tolist()) == ([0], [0])


class TestRanking(VersionedStageContract):
    def stage(self, bundle: Bundle) -> Ranking:
        return Ranking.open(bundle)

    def messages(self, bundle: Bundle, *places: int, version: str = VERSION) -> tuple[QueryFeatures, Candidates]:
        queries = dataclasses.replace(queries_of(bundle, *places), bundle_version=version)
        return queries, candidates_of(*places, version=version)

    def test_candidates_of_another_bundle_are_refused(self, bundle: Bundle) -> None:
        with pytest.raises(BundleError, match="asked for bundle 'other'"):
            self.call(bundle, queries_of(bundle, 0), candidates_of(0, version="other"))

    def test_no_candidates_at_all(self, bundle: Bundle) -> None:
        nothing = candidates_of(4)
        assert self.call(bundle, queries_of(bundle, 4), nothing).lengths.tolist() == [0]


class TestReranking(VersionedStageContract):
    def stage(self, bundle: Bundle) -> Reranking:
        return Reranking.open(bundle)

    def messages(self, bundle: Bundle, *places: int, version: str = VERSION) -> tuple[Candidates, np.ndarray]:
        return candidates_of(*places, version=version), batch_of(*places).k

    def test_no_candidates_at_all(self, bundle: Bundle) -> None:
        assert self.call(bundle, *self.messages(bundle, 4)).items.lengths.tolist() == [0]


class TestRerankingOfAllKinds(TestReranking):
    """Greedy, sampled and weighted lists, with and without likeness and caps, in one batch."""

    def messages(self, bundle: Bundle, *places: int, version: str = VERSION) -> tuple[Any, ...]:
        options = RerankOptions(
            order=np.array([place % 3 for place in places], dtype=np.int32),
            temperature=np.array([0.5 + place % 4 for place in places]),
            epsilon=np.array([0.1 * (place % 2) for place in places]),
            mmr=np.array([0.25 * (place % 4) for place in places]),
            caps=np.array([[1 + place % 3, NO_CAP - place % 2] for place in places], dtype=np.int32),
            seeds=np.array(places, dtype=np.uint64),
        )
        return *super().messages(bundle, *places, version=version), options
