"""Which deployment holds which stage groups or models."""

from __future__ import annotations

from typing import Final, Literal

from serving.groups import PartName

Placement = Literal["staged", "tiered", "fused", "per_model"]
GATEWAY: Final = "Gateway"
CONSUMER: Final = "Consumer"
"""Deployment of the consumer of interactions, in every placement unless it is switched off."""
PLACEMENTS: Final[dict[Placement, dict[str, tuple[PartName, ...]]]] = {
    "staged": {
        "QueryFeatures": ("query_features",),
        "Retrieval": ("retrieval",),
        "SeenFilter": ("seen_filter",),
        "Ranking": ("ranking",),
        "Reranking": ("reranking",),
    },
    "tiered": {"Retrieval": ("retrieval",), "Ranking": ("ranking",)},
    "fused": {},
    "per_model": {
        "ContextPreprocessor": ("context_preprocessor",),
        "UserLookup": ("user_lookup",),
        "UserTransform": ("user_transform",),
        "ContextTransform": ("context_transform",),
        "QueryTower": ("query_tower",),
        "CandidateSearch": ("candidate_search",),
        "SeenFilter": ("seen_filter",),
        "ItemLookup": ("item_lookup",),
        "ItemTransform": ("item_transform",),
        "ContentLookup": ("content_lookup",),
        "Unroll": ("unroll",),
        "Ranker": ("ranker",),
        "Sampling": ("sampling",),
        "ItemDecoder": ("item_decoder",),
    },
}
"""Parts by deployment; stage groups that no deployment holds run in the gateway."""
