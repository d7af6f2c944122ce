"""What every ranker can do, and the builders that the config chooses from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

from torch import Tensor, nn

from contracts.config import StrictConfig, validate
from contracts.errors import ConfigError
from training.models.dlrm import DLRM, DLRMConfig
from training.models.inputs import CandidateGroup, ItemTensors, PairTensors, QueryTensors
from training.models.schema import ModelSchema


class RankerConfig(Protocol):
    """What every ranker's config says."""

    @property
    def history_length(self) -> int: ...

    @property
    def history_days(self) -> int: ...

    @property
    def retrieval_score(self) -> bool: ...

    @property
    def popularity(self) -> bool: ...


class Ranker(Protocol):
    """Scores candidates of queries; the served score is the sigmoid of the logit."""

    config: RankerConfig

    def logits(self, queries: QueryTensors, *groups: CandidateGroup) -> Tensor:
        """Logits [B, C of all groups] of candidates in groups of equal size; training calls this."""
        ...

    def score(self, queries: QueryTensors, pairs: PairTensors, items: ItemTensors | None = None) -> Tensor:
        """Scores ragged candidates.

        Args:
            queries: B queries.
            pairs: T candidates of them.
            items: items that the rows of candidates and histories are places in; None = the catalogue.

        Returns:
            Logits [T].
        """
        ...


Builder = Callable[[Any, ModelSchema, ItemTensors | None], nn.Module]
RANKERS: Final[dict[str, tuple[type[StrictConfig], Builder]]] = {"dlrm": (DLRMConfig, DLRM)}
"""Config class and builder of each ranker, by its name in the config. Add a ranker here."""


def ranker_entry(name: str) -> tuple[type[StrictConfig], Builder]:
    """Config class and builder of a ranker.

    Raises:
        ConfigError: no ranker has this name.
    """
    if name not in RANKERS:
        raise ConfigError(f"unknown ranker {name!r}; legal values: {', '.join(sorted(RANKERS))}")
    return RANKERS[name]


def build_ranker(name: str, config: dict[str, Any], schema: ModelSchema, items: ItemTensors | None = None) -> nn.Module:
    """Builds a ranker from its name and the plain values of its config; without items it reads none."""
    config_class, build = ranker_entry(name)
    return build(validate(config_class, config, source=f"config of ranker {name!r}"), schema, items)
