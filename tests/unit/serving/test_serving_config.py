"""Settings across components."""

from __future__ import annotations

import pytest

from contracts.clock import SimulatedClock, SystemClock
from contracts.config import validate
from contracts.errors import ConfigError
from serving.config import ServingConfig
from serving.placing.placement import GATEWAY, PLACEMENTS, Placement, find_placement
from serving.placing.stage_table import STAGES


def test_fewer_candidates_than_a_request_may_want_are_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"retrieval.retrieval_k=99 is below 100, the largest k of a request; raise it"
    ):
        validate(ServingConfig, {"retrieval": {"retrieval_k": 99}}, source="x")


def test_a_reserve_that_eats_the_budget_is_refused() -> None:
    values = {"pipeline": {"reserve_ms": 50}, "service": {"budget_ms": 50}}
    with pytest.raises(ConfigError, match=r"pipeline.reserve_ms=50.0 leaves nothing of service.budget_ms=50.0"):
        validate(ServingConfig, values, source="x")


def test_the_clock_is_the_machines_or_stands_still() -> None:
    assert isinstance(ServingConfig().clock(), SystemClock)
    clock = ServingConfig(simulated_now=1_700_000_000).clock()
    assert isinstance(clock, SimulatedClock)
    assert clock.now() == 1_700_000_000


def test_no_placement_has_a_stage_twice_and_names_are_its_own() -> None:
    for name, placement in PLACEMENTS.items():
        held = [stage for stages in placement.deployments.values() for stage in stages]
        assert len(set(held)) == len(held), name
        assert set(held) <= set(STAGES)
        assert GATEWAY not in placement.deployments
    assert sorted(stage for stages in PLACEMENTS["staged"].deployments.values() for stage in stages) == sorted(STAGES)


OWN = Placement({"Filters": ("seen_filter", "reranking")})


def test_a_placement_of_ones_own_is_found_by_its_import_path() -> None:
    assert find_placement(f"{__name__}:OWN") is OWN


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tiny", r"placement 'tiny' is not known; expected staged, tiered, fused, or module:ATTRIBUTE of a serving"),
        ("", "placement '' is not known"),
        ("no.such:THING", "placement 'no.such:THING' cannot be imported: No module named 'no'"),
        (f"{__name__}:NONE", "placement '.*:NONE' cannot be imported: module .* has no attribute 'NONE'"),
        (f"{__name__}:STAGES", "placement '.*:STAGES' is not known"),
    ],
)
def test_what_is_no_placement_is_refused_by_name(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        find_placement(name)
