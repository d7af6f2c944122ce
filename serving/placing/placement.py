"""Placements: which deployment holds which stages. A placement of your own is named `module:ATTRIBUTE`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Final, Literal

from contracts.bundle import Bundle
from contracts.errors import ConfigError
from serving.placing.config import StageConfig
from serving.placing.stage_table import STAGES, open_stage
from serving.running.calls import StageCall
from serving.running.load import ComputeThread

if TYPE_CHECKING:
    from serving.stores.connection import StoreConnection

PlacementName = Literal["staged", "tiered", "fused"]
GATEWAY: Final = "Gateway"
CONSUMER: Final = "Consumer"
"""Deployment of the consumer of interactions, in every placement unless disabled."""
Opener = Callable[[str, Bundle, StageConfig, ComputeThread, "StoreConnection | None"], StageCall]
"""Opens what a deployment holds by its name; the stores are None unless `Placement.reading` has the name."""


@dataclass(frozen=True)
class Placement:
    """Stages by deployment; all others run in the gateway.

    Attributes:
        deployments: names of what each deployment holds: stages, or what `compose` makes stages from.
        open: opens what a deployment holds.
        compose: makes stages of calls to deployments.
        reading: names of what needs the stores.
    """

    deployments: Mapping[str, tuple[str, ...]]
    open: Opener = open_stage
    compose: Callable[[Mapping[str, StageCall]], Mapping[str, StageCall]] = dict
    reading: frozenset[str] = frozenset(name for name, stage in STAGES.items() if stage.reads_stores)


def deployment_of(name: str) -> str:
    """Name of the deployment of one stage: `SeenFilter` for `seen_filter`."""
    return "".join(word.capitalize() for word in name.split("_"))


PLACEMENTS: Final[Mapping[str, Placement]] = {
    "staged": Placement({deployment_of(name): (name,) for name in STAGES}),
    "tiered": Placement({"Retrieval": ("retrieval",), "Ranking": ("ranking",)}),
    "fused": Placement({}),
}


def find_placement(name: str) -> Placement:
    """A placement by its name, or by `module:ATTRIBUTE`.

    Raises:
        ConfigError: there is no such placement.
    """
    if name in PLACEMENTS:
        return PLACEMENTS[name]
    module, _, attribute = name.partition(":")
    try:
        found = getattr(import_module(module), attribute) if attribute else None
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"placement {name!r} cannot be imported: {error}") from error
    if not isinstance(found, Placement):
        raise ConfigError(
            f"placement {name!r} is not known; expected {', '.join(PLACEMENTS)}, or module:ATTRIBUTE of a "
            "serving.placing.placement.Placement"
        )
    return found
