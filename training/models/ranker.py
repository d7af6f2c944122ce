"""The interface of rankers, and the builders that the config chooses from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Protocol

from torch import Tensor, nn

from contracts.config import ConfigT, validate
from contracts.errors import ConfigError
from training.models.dlrm import DLRM, DLRMConfig
from training.models.inputs import CandidateGroup, ItemTensors, PairTensors, QueryTensors
from training.models.mlp import MLPConfig, MLPRanker
from training.models.schema import ModelSchema


class RankerConfig(Protocol):
    """Fields that every ranker's config has."""

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
            items: the rows of candidates and histories are places in these; None = the catalogue.

        Returns:
            Logits [T].
        """
        ...

    def prepare(self) -> None:
        """Precomputes what depends on weights and catalogue alone."""
        ...


class Builder(Protocol):
    """Builds a ranker from the plain values of its config; without items it reads none."""

    def __call__(self, config: Mapping[str, object], schema: ModelSchema, items: ItemTensors | None) -> nn.Module: ...


def builder(
    name: str, config_class: type[ConfigT], model: Callable[[ConfigT, ModelSchema, ItemTensors | None], nn.Module]
) -> Builder:
    """The builder of a model that takes a checked config."""

    def build(config: Mapping[str, object], schema: ModelSchema, items: ItemTensors | None) -> nn.Module:
        return model(validate(config_class, config, source=f"config of ranker {name!r}"), schema, items)

    return build


RANKERS: Final[Mapping[str, Builder]] = {
    "dlrm": builder("dlrm", DLRMConfig, DLRM),
    "mlp": builder("mlp", MLPConfig, MLPRanker),
}
"""Builder of each ranker, by its name in the config. Add a ranker here."""


def build_ranker(
    name: str, config: Mapping[str, object], schema: ModelSchema, items: ItemTensors | None = None
) -> nn.Module:
    """Builds a ranker; without items it reads none.

    Raises:
        ConfigError: no ranker has this name, or its config does not fit.
    """
    if name not in RANKERS:
        raise ConfigError(f"unknown ranker {name!r}; legal values: {', '.join(sorted(RANKERS))}")
    return RANKERS[name](config, schema, items)
