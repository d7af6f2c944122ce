"""Retrieval: the best eligible items by query · candidate + age bias."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from contracts.bundle import Bundle
from contracts.bundle_layout import INDEX
from contracts.ids import FloatArray, LongArray
from contracts.messages import Candidates, QueryFeatures
from contracts.options import ItemFilters, Ragged
from serving.placing.device import Device
from serving.stages.config import RetrievalConfig
from serving.stages.eligibility import AgeBias, Eligibility
from serving.stages.version import refuse_other_schema, refuse_other_version

if TYPE_CHECKING:
    from training.models.candidate_index import CandidateIndex


class Retrieval:
    """Query features to candidates, best first.

    Reference model: 3 faiss_retrieval
    Input: query embeddings [B, E], filters of requests
    Output: the best 300 ItemRows and scores of each request under its mask, fewer only where fewer are eligible
    Artifacts: `index/faiss.index`, `two_tower/candidate`, age bias, launch times, withdrawn items
    Failure: popular items that pass the same filters, most popular first, `retrieval` in `degraded`
    Cadence: index at a full build; eligibility with each launch; age bias each shop-local day

    Args:
        bundle_version: the version that it serves; messages of other versions are refused.
        schema_digest: of the schema that the tower reads; queries of others are refused.
        tower: query features to query embeddings [B, E].
        index: the candidate index.
        bias: additive bias by item age.
        eligibility: items that may be recommended.
        config: settings.
    """

    def __init__(
        self,
        bundle_version: str,
        schema_digest: str,
        tower: Callable[[QueryFeatures], FloatArray],
        index: CandidateIndex,
        bias: AgeBias,
        eligibility: Eligibility,
        config: RetrievalConfig,
    ) -> None:
        self._version = bundle_version
        self._digest = schema_digest
        self._tower = tower
        self._index = index
        self._bias = bias
        self._eligibility = eligibility
        self._config = config

    @classmethod
    def open(cls, bundle: Bundle, config: RetrievalConfig, device: Device = "auto") -> Retrieval:
        """Loads the query tower and the index of a bundle; the index is searched on the CPU.

        Raises:
            ConfigError: the device is missing.
        """
        # faiss and torch: only where the model runs
        from serving.stages.query_tower import QueryTower
        from training.models.candidate_index import CandidateIndex

        tower = QueryTower.open(bundle, device)
        index = CandidateIndex.open(bundle.file(INDEX), bundle.array("two_tower/candidate"))
        bias = AgeBias(tower.age_bias, bundle.items.launched_at, bundle.transforms.calendar)
        return cls(bundle.version, bundle.schema.digest, tower, index, bias, Eligibility.open(bundle), config)

    def __call__(
        self, queries: QueryFeatures, filters: ItemFilters | None = None, provided: Ragged | None = None
    ) -> Candidates:
        """The top `retrieval_k` eligible items of each query, or all there are, best first.

        Args:
            queries: features of B queries.
            filters: of the queries; None = none.
            provided: B lists of distinct ItemRows to score instead; the eligible ones come back.

        Raises:
            BundleError: the queries are of another bundle version, or their columns of another schema.
        """
        refuse_other_version(queries.bundle_version, self._version)
        refuse_other_schema(queries.columns.digest, self._digest)
        return self.search(queries.now, self._tower(queries), filters, provided)

    def search(
        self,
        now: LongArray,
        embeddings: FloatArray,
        filters: ItemFilters | None = None,
        provided: Ragged | None = None,
    ) -> Candidates:
        """As a call, for queries with embeddings [B, E] at times [B] in Unix seconds."""
        bias = self._bias.of(now)
        mask = self._eligibility.of(now, filters)
        if provided is None:
            found = self._index.search(embeddings, self._config.retrieval_k, bias=bias, mask=mask)
        else:
            found = self._index.score(embeddings, provided.values, provided.owners, bias=bias, mask=mask)
        return Candidates(self._version, found.rows, found.scores, found.lengths)
