from __future__ import annotations

from datetime import date

from contracts.clock import SimulatedClock
from training.simulator import SimulatorConfig
from training.simulator.period import Period


def test_days_of_a_week_with_a_change_of_clocks() -> None:
    # 2026-03-27 is a Friday; clocks go forward in Berlin on the Sunday after.
    config = SimulatorConfig(start_date=date(2026, 3, 27), num_days=4, timezone="Europe/Berlin")
    period = Period.of(config, SimulatedClock(0))
    assert period.names == ("2026-03-27", "2026-03-28", "2026-03-29", "2026-03-30")
    assert period.weekend.tolist() == [False, True, True, False]
    # Midnight in Berlin on 2026-03-27 is 23:00 UTC of the day before.
    hours = (period.bounds - 1_774_566_000) // 3_600
    assert hours.tolist() == [0, 24, 48, 71, 95]


def test_without_a_start_the_period_ends_yesterday() -> None:
    # 2026-03-02 23:30 UTC: the same day in London, the next one in Berlin.
    clock = SimulatedClock(1_772_494_200)
    last = {zone: Period.of(SimulatorConfig(timezone=zone), clock).names[-1] for zone in ("UTC", "Europe/Berlin")}
    assert last == {"UTC": "2026-03-01", "Europe/Berlin": "2026-03-02"}
