"""Every stage of the product keeps the contract of `serving.testing`."""

from __future__ import annotations

from typing import Any

import numpy as np

from contracts import columns as c
from contracts.bundle import Bundle
from contracts.messages import Candidates, QueryFeatures, RequestBatch
from contracts.options import NO_CAP, ItemFilters, Ragged, RerankingOptions
from serving.running.config import PipelineConfig
from serving.stages.config import RetrievalConfig
from serving.stages.popular import PopularItems
from serving.stages.query_features import LookedUp, QueryFeatureBuilder, QueryFeatureStage
from serving.stages.ranking import Ranking
from serving.stages.reranking import Reranking
from serving.stages.retrieval import Retrieval
from serving.stages.seen_filter import SeenFilter
from serving.stages.user_lookup import UserLookup
from serving.testing import BATCH, StageContract, candidates, queries, requests
from tests.fixtures.fake_stores import RECENT, SEEN, TODAY, FakeRecentItems, FakeSeenRings, FakeUserFeatures


def filters_of(*places: int) -> ItemFilters | None:
    """Filters of every second request."""
    some = [at for at, place in enumerate(places) if place % 2]
    if not some:
        return None
    numbers = [places[at] for at in some]
    return ItemFilters(
        requests=np.array(some, dtype=np.int32),
        excluded=Ragged.of([range(number) for number in numbers]),
        codes={c.CATEGORY_L1: Ragged.of([[1 + number % 3] for number in numbers])},
        ranges={c.PRICE: np.array([(number % 5, np.inf) for number in numbers], dtype=np.float64)},
    )


class TestQueryFeatures(StageContract):
    def stage(self, bundle: Bundle) -> QueryFeatureStage:
        users = FakeUserFeatures({"u1": (30.0, "F", "books", "shoes"), "u2": (None, None, "toys", None)})
        lookup = UserLookup(users, FakeRecentItems(RECENT), PipelineConfig())
        return QueryFeatureStage(lookup, QueryFeatureBuilder.open(bundle))

    def messages(self, bundle: Bundle, *places: int) -> tuple[RequestBatch]:
        return (requests(bundle, *places),)

    def test_every_request_gets_features(self, bundle: Bundle) -> None:
        answer = self.call(bundle, requests(bundle, *range(BATCH)))
        assert isinstance(answer, LookedUp)
        assert len(answer.features) == len(answer.degraded) == BATCH


class TestRetrieval(StageContract):
    def stage(self, bundle: Bundle) -> Retrieval:
        return Retrieval.open(bundle, RetrievalConfig(retrieval_k=20))

    def messages(self, bundle: Bundle, *places: int) -> tuple[QueryFeatures]:
        return (queries(bundle, *places),)


class TestFilteredRetrieval(TestRetrieval):
    """Every second request has filters."""

    def messages(self, bundle: Bundle, *places: int) -> tuple[Any, ...]:
        return *super().messages(bundle, *places), filters_of(*places)


class TestProvidedCandidates(TestRetrieval):
    """Retrieval scores provided candidates."""

    def messages(self, bundle: Bundle, *places: int) -> tuple[Any, ...]:
        provided = Ragged.of([candidates(bundle, place).rows for place in places])
        return *super().messages(bundle, *places), filters_of(*places), provided


class TestPopularItems(TestFilteredRetrieval):
    """The fallback of retrieval."""

    def stage(self, bundle: Bundle) -> PopularItems:
        return PopularItems.open(bundle, 20)

    def test_another_bundle_is_refused(self, bundle: Bundle) -> None:
        """It runs where the pipeline runs, on the same bundle."""
        assert self.stage(bundle)(queries(bundle, 0)).bundle_version == bundle.version


class TestSeenFilter(StageContract):
    def stage(self, bundle: Bundle) -> SeenFilter:
        return SeenFilter.open(bundle)

    def messages(self, bundle: Bundle, *places: int) -> tuple[Any, ...]:
        rings = FakeSeenRings(SEEN, TODAY).rings(requests(bundle, *places).subjects)
        return candidates(bundle, *places), rings


class TestRanking(StageContract):
    def stage(self, bundle: Bundle) -> Ranking:
        return Ranking.open(bundle)

    def messages(self, bundle: Bundle, *places: int) -> tuple[QueryFeatures, Candidates]:
        return queries(bundle, *places), candidates(bundle, *places)


class TestReranking(StageContract):
    keeps_candidates = False

    def stage(self, bundle: Bundle) -> Reranking:
        return Reranking.open(bundle)

    def messages(self, bundle: Bundle, *places: int) -> tuple[Candidates, np.ndarray]:
        return candidates(bundle, *places), requests(bundle, *places).k


class TestRerankingOfAllKinds(TestReranking):
    """Greedy, sampled and weighted lists, with and without diversity and caps, in one batch."""

    def messages(self, bundle: Bundle, *places: int) -> tuple[Any, ...]:
        options = RerankingOptions(
            order=np.array([place % 3 for place in places], dtype=np.int32),
            temperature=np.array([0.5 + place % 4 for place in places]),
            epsilon=np.array([0.1 * (place % 2) for place in places]),
            mmr=np.array([0.25 * (place % 4) for place in places]),
            caps=np.array([[1 + place % 3, NO_CAP - place % 2] for place in places], dtype=np.int32),
            seeds=np.array(places, dtype=np.uint64),
        )
        return *super().messages(bundle, *places), options
