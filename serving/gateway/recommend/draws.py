"""How the lists of requests are drawn: the service's setting, the request's own wishes over it, and the seed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from contracts.options import NO_CAP, Order, RerankOptions
from recommender_api.requests import Diversity, RankingRequest, RecommendationRequest
from serving.stages.reranking import RerankingConfig

_TEMPERATURE_OF: Final = {"greedy": 1.0, "sampled": 1.0, "weighted": 0.05}
_FIELDS: Final = ("order", "temperature", "epsilon", "mmr", "max_per_category_l1", "max_per_category_l2")


class Draw(NamedTuple):
    """How one request's list is drawn; as `RerankOptions` has it for many."""

    order: Order
    temperature: float
    epsilon: float
    mmr: float
    caps: tuple[int, int]
    seed: int


_GREEDY: Final = Draw(Order.GREEDY, 1.0, 0.0, 0.0, (NO_CAP, NO_CAP), 0)


class DrawReader:
    """Reads from requests how their lists are drawn.

    Args:
        config: what holds where a request says nothing else.
    """

    def __init__(self, config: RerankingConfig) -> None:
        self._config = config
        self._plain = _drawn(config, 0) == _GREEDY

    def __call__(self, request: RecommendationRequest | RankingRequest, request_id: str) -> Draw | None:
        """How a request's list is drawn; None = highest score first."""
        if request.diversity is None:
            if self._plain:
                return None
            config = self._config
        else:
            config = _over(self._config, request.diversity)
        seed = seed_of(request_id) if request.seed is None else request.seed
        return _drawn(config, seed)


def seed_of(request_id: str) -> int:
    """The seed of a request that brings none."""
    return int.from_bytes(hashlib.blake2b(request_id.encode(), digest_size=8).digest(), "little")


def gather_draws(draws: Sequence[Draw | None]) -> RerankOptions | None:
    """The draws of a batch's requests; None where all are greedy."""
    if all(draw is None for draw in draws):
        return None
    order, temperature, epsilon, mmr, caps, seeds = zip(*(draw or _GREEDY for draw in draws), strict=True)
    return RerankOptions(
        order=np.array(order, dtype=np.int32),
        temperature=np.array(temperature, dtype=np.float64),
        epsilon=np.array(epsilon, dtype=np.float64),
        mmr=np.array(mmr, dtype=np.float64),
        caps=np.array(caps, dtype=np.int32),
        seeds=np.array(seeds, dtype=np.uint64),
    )


def _over(config: RerankingConfig, wishes: Diversity) -> RerankingConfig:
    """The setting with a request's wishes over it; a temperature belongs to its order."""
    given = {name: value for name in _FIELDS if (value := getattr(wishes, name)) is not None}
    if given.get("order", config.order) != config.order:
        given.setdefault("temperature", None)
    return config.model_copy(update=given)


def _drawn(config: RerankingConfig, seed: int) -> Draw:
    return Draw(
        Order[config.order.upper()],
        config.temperature or _TEMPERATURE_OF[config.order],
        config.epsilon,
        config.mmr,
        (config.max_per_category_l1 or NO_CAP, config.max_per_category_l2 or NO_CAP),
        seed,
    )
