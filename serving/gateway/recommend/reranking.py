"""Reranking options of requests: the service's defaults, what the request overrides, and the seed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from contracts.errors import ConfigError, RequestError
from contracts.options import NO_CAP, Order, RerankingOptions
from recommender_api.requests import Diversity, RankingRequest, RecommendationRequest
from serving.stages.config import RerankingConfig

_TEMPERATURE_OF: Final = {"greedy": 1.0, "sampled": 1.0, "weighted": 0.05}
_FIELDS: Final = ("order", "temperature", "epsilon", "mmr", "max_per_category_l1", "max_per_category_l2")


class RequestReranking(NamedTuple):
    """The reranking options of one request; `RerankingOptions` holds those of a batch."""

    order: Order
    temperature: float
    epsilon: float
    mmr: float
    caps: tuple[int, int]
    seed: int


_GREEDY: Final = RequestReranking(Order.GREEDY, 1.0, 0.0, 0.0, (NO_CAP, NO_CAP), 0)


class RerankingReader:
    """Reads the reranking options of requests.

    Args:
        config: the defaults.
        lacking: those of `CAPPED_COLUMNS` that the shop's items lack.

    Raises:
        ConfigError: the defaults cap a column that the items lack.
    """

    def __init__(self, config: RerankingConfig, lacking: Sequence[str] = ()) -> None:
        self._lacking = [f"max_per_{column}" for column in lacking]
        if fault := self._fault(config):
            raise ConfigError(f"reranking.{fault}; take it out")
        self._config = config
        self._greedy = _options(config, 0) == _GREEDY

    def __call__(self, request: RecommendationRequest | RankingRequest, request_id: str) -> RequestReranking | None:
        """The options of a request; None = highest score first.

        Raises:
            RequestError: it caps a column that the items lack.
        """
        if request.diversity is None:
            if self._greedy:
                return None
            config = self._config
        else:
            if fault := self._fault(request.diversity):
                raise RequestError(f"diversity.{fault}")
            config = _overridden(self._config, request.diversity)
        seed = seed_of(request_id) if request.seed is None else request.seed
        return _options(config, seed)

    def _fault(self, options: RerankingConfig | Diversity) -> str | None:
        caps = ((name, getattr(options, name)) for name in self._lacking)
        return next((f"{name}={cap}: this shop's items have no such category" for name, cap in caps if cap), None)


def seed_of(request_id: str) -> int:
    """The seed of a request that does not set one."""
    return int.from_bytes(hashlib.blake2b(request_id.encode(), digest_size=8).digest(), "little")


def gather_reranking(options: Sequence[RequestReranking | None]) -> RerankingOptions | None:
    """The reranking options of a batch; None if all requests are greedy."""
    if all(one is None for one in options):
        return None
    order, temperature, epsilon, mmr, caps, seeds = zip(*(one or _GREEDY for one in options), strict=True)
    return RerankingOptions(
        order=np.array(order, dtype=np.int32),
        temperature=np.array(temperature, dtype=np.float64),
        epsilon=np.array(epsilon, dtype=np.float64),
        mmr=np.array(mmr, dtype=np.float64),
        caps=np.array(caps, dtype=np.int32),
        seeds=np.array(seeds, dtype=np.uint64),
    )


def _overridden(config: RerankingConfig, diversity: Diversity) -> RerankingConfig:
    """The defaults with a request's own values; another order does not keep the default's temperature."""
    values = {name: value for name in _FIELDS if (value := getattr(diversity, name)) is not None}
    if values.get("order", config.order) != config.order:
        values.setdefault("temperature", None)
    return config.model_copy(update=values)


def _options(config: RerankingConfig, seed: int) -> RequestReranking:
    return RequestReranking(
        Order[config.order.upper()],
        config.temperature or _TEMPERATURE_OF[config.order],
        config.epsilon,
        config.mmr,
        (config.max_per_category_l1 or NO_CAP, config.max_per_category_l2 or NO_CAP),
        seed,
    )
