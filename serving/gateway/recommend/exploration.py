"""Exploration: a share of the visitors gets randomly sampled lists with known propensities.

Off-policy evaluation estimates from their behaviour the reward of another ranker. Their lists are sampled in one
seeded step and not changed afterwards.
"""

from __future__ import annotations

import hashlib

from contracts.ids import subject_of
from contracts.options import NO_CAP, Order
from recommender_api.requests import RecommendationRequest
from serving.gateway.recommend.config import ExplorationConfig
from serving.gateway.recommend.reranking import RequestReranking, seed_of


def falls_in_share(share: float, salt: str, identity: str) -> bool:
    """Whether an identity belongs to a share of all, by a hash: always the same answer for one salt."""
    digest = hashlib.blake2b(identity.encode(), digest_size=8, key=hashlib.sha256(salt.encode()).digest()).digest()
    return int.from_bytes(digest, "little") < share * 2**64


class Explorer:
    """Decides who explores.

    Args:
        config: settings.
    """

    def __init__(self, config: ExplorationConfig) -> None:
        self._config = config

    def __call__(self, request: RecommendationRequest, request_id: str) -> RequestReranking | None:
        """Reranking options of a visitor who explores; None for others.

        Options and seed in the request are ignored: a shop that always sends the same seed would sample one list for
        everybody. A request without user and session is a visitor of its own.
        """
        config = self._config
        if config.share == 0:
            return None
        visitor = subject_of(request.user_id, request.session_id) or request_id
        if not falls_in_share(config.share, config.salt, visitor):
            return None
        return RequestReranking(
            Order.SAMPLED, config.temperature, config.epsilon, 0.0, (NO_CAP, NO_CAP), seed_of(request_id)
        )
