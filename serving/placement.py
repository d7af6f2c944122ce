"""Which deployment holds which stage groups."""

from __future__ import annotations

from typing import Final, Literal

from serving.groups import GroupName

Placement = Literal["staged", "tiered", "fused"]
GATEWAY: Final = "Gateway"
PLACEMENTS: Final[dict[Placement, dict[str, tuple[GroupName, ...]]]] = {
    "staged": {
        "QueryFeatures": ("query_features",),
        "Retrieval": ("retrieval",),
        "SeenFilter": ("seen_filter",),
        "Ranking": ("ranking",),
        "Reranking": ("reranking",),
    },
    "tiered": {"Retrieval": ("retrieval",), "Ranking": ("ranking",)},
    "fused": {},
}
"""Stage groups by deployment; what no deployment holds runs in the gateway."""
