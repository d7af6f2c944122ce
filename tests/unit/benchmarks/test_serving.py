from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.common import Figure
from benchmarks.load import Outcome
from benchmarks.serving import Samples, comparisons, figures_of
from benchmarks.shop import draw_visitors
from benchmarks.systems import differences


def test_a_rate_above_the_capacity_is_not_measured_and_says_why() -> None:
    samples = Samples(rps=[540.0, 560.0], p50_ms=[3.0, 5.0])
    samples.outcomes[500] = [Outcome(1.0, [1.0])]
    samples.outcomes[100] = [Outcome(1.0, [1.0, 2.0], num_shed=2), Outcome(1.0, [4.0], num_shed=1)]
    samples.outcomes[100][0].errors["degraded"] = 3

    figures = figures_of("fused", samples, (500, 100))

    assert figures["fused_rps"] == Figure(550.0, "requests/s", 540.0, 560.0)
    assert figures["fused_p50_ms_1_client"] == Figure(4.0, "ms", 3.0, 5.0)
    assert figures["fused_p99_ms_at_500_rps"] == Figure(
        None, "ms", reason="its best throughput, 540, is below 1.1 x 500"
    )
    assert figures["fused_p99_ms_at_100_rps"] == Figure(3.0, "ms", 2.0, 4.0)
    assert figures["fused_errors_at_100_rps"].value == 3
    assert figures["fused_shed_at_100_rps"].value == 3


def test_overhead_is_what_a_request_costs_beyond_the_pipeline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    figures = {"fused_rps": Figure(800.0, ""), "limit_rps": Figure(1_000.0, ""), "triton_rps": Figure(400.0, "")}

    found = comparisons(figures)

    assert found["overhead_core_ms"].value == pytest.approx(0.5)  # 2 / 800 s - 2 / 1000 s
    assert found["fused_rps_vs_triton"].value == 2.0
    assert found["fused_rps_vs_limit"].value == 0.8
    assert "fused_rps_vs_asgi_2" not in found


def test_answers_may_differ_by_rounding_only() -> None:
    expected = [[("a", 0.9), ("b", 0.500_004), ("c", 0.5), ("d", 0.1)]]

    assert differences(expected, expected) == []
    assert differences([[("a", 0.9), ("c", 0.500_002), ("b", 0.500_002), ("d", 0.1)]], expected) == []
    assert differences([[("a", 0.9), ("b", 0.5), ("d", 0.5), ("c", 0.1)]], expected) == [
        "request 0, place 2: d instead of c",
        "request 0, place 3: c instead of d",
    ]
    assert differences([[("a", 0.91), ("b", 0.5), ("c", 0.5), ("d", 0.1)]], expected) == [
        "request 0, place 0: score 0.91 instead of 0.9"
    ]
    assert differences([[("a", 0.9)]], expected) == ["request 0: 1 items instead of 4"]


def test_visitors_are_drawn_by_their_activity(tmp_path: Path) -> None:
    folder = tmp_path / "interactions" / "day=2026-01-01"
    folder.mkdir(parents=True)
    rows = [("u1", "s1", "mobile")] * 90 + [(None, "s2", None)] * 10
    names = ("user_id", "session_id", "device_type")
    columns = {name: pa.array([row[place] for row in rows], pa.string()) for place, name in enumerate(names)}
    pq.write_table(pa.table(columns), folder / "part.parquet")

    visitors = draw_visitors(tmp_path, 1_000, seed=0)

    active = {"user_id": "u1", "session_id": "s1", "device_type": "mobile", "k": 10}
    assert visitors.count({"session_id": "s2", "k": 10}) == 1_000 - visitors.count(active)
    assert visitors.count(active) == pytest.approx(900, abs=50)
