"""Off-policy estimates by hand, and against the truth where the naive mean is far off."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from contracts import records as r
from contracts.clock import DAY_S, day_to_name
from contracts.columns import TableSchema
from contracts.errors import DataError
from contracts.options import NO_CAP, Order, RerankingOptions
from serving.stages.sampling import Pool, draw_at_once
from training.evaluation.off_policy import estimate, read_explored
from training.tables import empty_table

DAY = 20_000
START = DAY * DAY_S


def log(*rows: tuple[str, int, float, float]) -> pa.Table:
    """(request, position, propensity, reward); each request is a visitor of its own."""
    requests, positions, propensities, rewards = zip(*rows, strict=True)
    nobody = pa.nulls(len(rows), pa.string())
    columns = {"request_id": requests, "position": positions, "propensity": propensities, "reward": rewards}
    return pa.table({**columns, "user_id": nobody, "session_id": nobody})


TWO = log(("r1", 0, 0.5, 1.0), ("r1", 1, 0.25, 0.0), ("r2", 0, 0.5, 0.0), ("r2", 1, 0.5, 1.0))
TARGET = np.array([0.8, 0.5, 0.2, 1.0])


def test_the_first_position_by_hand() -> None:
    """Weights 1.6 and 0.4, rewards 1 and 0."""
    found = estimate(TWO, TARGET, 1)
    assert found.ips.value == pytest.approx(1.6 / 2)
    assert found.snips == pytest.approx(1.6 / 2.0)
    assert found.effective_sample_size == pytest.approx(2.0**2 / (1.6**2 + 0.4**2))
    assert found.ips.n == 2
    assert found.ips.high - found.ips.value == pytest.approx(1.96 * np.sqrt(2 * 0.8**2) / 2)


def test_deeper_positions_are_weighed_by_all_picks_above_them() -> None:
    """Weights 1.6, 1.6 * 2 = 3.2 and 0.4, 0.4 * 2 = 0.8."""
    found = estimate(TWO, TARGET, 2)
    assert found.ips.value == pytest.approx((1.6 + 0.8) / 2)
    assert found.snips == pytest.approx(1.6 / 2.0 + 0.8 / 4.0)
    assert found.effective_sample_size == pytest.approx(4.0**2 / (3.2**2 + 0.8**2))


def test_the_policy_of_the_log_earns_the_mean() -> None:
    found = estimate(TWO, TWO["propensity"].to_numpy(), 2)
    assert (found.ips.value, found.snips, found.effective_sample_size) == (1.0, 1.0, 2.0)


def test_requests_of_one_visitor_widen_the_interval() -> None:
    rows = log(*((f"r{number}", 0, 1.0, float(number < 2)) for number in range(4)))
    same = rows.set_column(rows.schema.get_field_index("user_id"), "user_id", pa.array(["u1", "u1", "u2", "u2"]))
    apart, together = (estimate(table, np.ones(4), 1).ips for table in (rows, same))
    assert apart.high - apart.value == pytest.approx(1.96 * np.sqrt(4 * 0.5**2) / 4)
    assert together.high - together.value == pytest.approx(1.96 * np.sqrt(2 * 1.0**2) / 4)


def test_where_nothing_was_logged_or_nothing_fits_there_is_no_ratio() -> None:
    empty = estimate(TWO.slice(0, 0), np.zeros(0), 1)
    assert (empty.ips.value, empty.snips, empty.effective_sample_size) == (None, None, 0.0)
    never = estimate(TWO, np.zeros(4), 1)
    assert (never.ips.value, never.snips, never.effective_sample_size) == (0.0, None, 0.0)
    with pytest.raises(ValueError, match=r"target must be \[4\] probabilities"):
        estimate(TWO, np.array([0.8, 0.5, 0.2, 1.2]), 1)


def test_it_is_unbiased_where_the_naive_mean_is_not() -> None:
    """Lists drawn as serving draws them favour what is clicked least; the target shows the best two items."""
    num_requests, clicks = 60_000, np.array([0.05, 0.1, 0.3, 0.6])
    rng = np.random.default_rng(0)
    rows = np.tile(np.arange(4, dtype=np.int32), (num_requests, 1))
    options = RerankingOptions(
        order=np.full(num_requests, Order.SAMPLED, dtype=np.int32),
        temperature=np.ones(num_requests),
        epsilon=np.full(num_requests, 0.1),
        mmr=np.zeros(num_requests),
        caps=np.full((num_requests, 2), NO_CAP, dtype=np.int32),
        seeds=rng.integers(0, 2**63, num_requests).astype(np.uint64),
    )
    utilities = np.tile([1.5, 0.5, 0.0, -0.5], (num_requests, 1))
    k = np.full(num_requests, 2, dtype=np.int32)
    drawn = draw_at_once(Pool(rows, utilities, np.ones(rows.shape, dtype=bool), k, options), 2)
    picks, propensities = drawn.columns, drawn.propensities
    reward = (rng.random(picks.shape) < clicks[picks]).astype(float)
    table = log(
        *zip(
            np.repeat([f"r{number:05d}" for number in range(num_requests)], 2).tolist(),
            np.tile([0, 1], num_requests).tolist(),
            propensities.ravel().tolist(),
            reward.ravel().tolist(),
            strict=True,
        )
    )
    target = (picks == np.array([3, 2])).astype(float).ravel()
    found, truth, naive = estimate(table, target, 2), clicks[3] + clicks[2], reward.sum(axis=1).mean()
    assert naive < 0.5
    assert found.ips.low < truth < found.ips.high
    assert found.ips.value == pytest.approx(truth, abs=0.08)
    assert found.snips == pytest.approx(truth, abs=0.08)
    assert 300 < found.effective_sample_size < num_requests / 10


def write(folder: Path, schema: TableSchema, rows: list[dict[str, Any]]) -> None:
    types = empty_table(schema).schema
    place = folder / schema.name / (f"day={day_to_name(DAY)}" if schema.partitioned else "")
    place.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=types), place / "part-0.parquet")


def shown(
    request_id: str, position: int, item_id: str, propensity: float | None = 0.5, **values: Any
) -> dict[str, Any]:
    row = {"request_id": request_id, "position": position, "item_id": item_id, "propensity": propensity}
    return {**row, "user_id": "u1", "timestamp": START, "explored": True, "arm": "production", **values}


def event(request_id: str, item_id: str, kind: str, after_s: int = 60) -> dict[str, Any]:
    row = {"request_id": request_id, "item_id": item_id, "event": kind, "timestamp": START + after_s}
    return {**row, "user_id": "u1", "event_id": f"{request_id}-{item_id}-{kind}", "accepted_ms": 0}


def test_explored_impressions_are_read_with_their_rewards(tmp_path: Path) -> None:
    impressions = [
        shown("r2", 0, "i1"),
        shown("r1", 1, "i2"),
        shown("r1", 0, "i1"),
        shown("r1", 0, "i1"),  # written twice
        shown("not", 0, "i1", None, explored=False),
        shown("unknown", 0, "i1", None, explored=None),
        shown("hole", 0, "i1"),
        shown("hole", 2, "i3"),
        shown("twice", 0, "i1"),
        shown("twice", 0, "i2"),  # another list under the same request id
        shown("r1", 0, "i3", user_id="u0"),  # somebody else's list under the same request id
        shown("erased", 0, "i1", user_id="u2"),
        shown("late", 0, "i1", timestamp=START + 5_000),
    ]
    events = [
        event("r1", "i2", "purchase"),
        event("r1", "i1", "view"),
        event("r2", "i1", "click", 1_801),
        event("r3", "i1", "click"),
    ]
    write(tmp_path, r.IMPRESSIONS, impressions)
    write(tmp_path, r.INTERACTIONS, events)
    write(tmp_path, r.TOMBSTONES, [{"user_id": "u2", "erased_at": START}])
    table = read_explored(tmp_path, ("click", "purchase"), 1_800, START + 6_000)
    rows = [tuple(row.values()) for row in table.select(["request_id", "position", "item_id", "reward"]).to_pylist()]
    assert rows == [("r1", 0, "i3", 0.0), ("r1", 0, "i1", 0.0), ("r1", 1, "i2", 1.0), ("r2", 0, "i1", 0.0)]
    assert read_explored(tmp_path, ("click",), 1_801, START + 6_000)["reward"].to_pylist() == [0.0, 0.0, 0.0, 1.0]
    assert estimate(table, np.array([1.0, 1.0, 1.0, 0.0]), 2).ips.value == pytest.approx(4 / 3)
    assert len(read_explored(tmp_path / "nothing", ("click",), 1_800, START)) == 0


@pytest.mark.parametrize("propensity", [None, 0.0, 1.5])
def test_explored_impressions_without_a_probability_are_refused(tmp_path: Path, propensity: float | None) -> None:
    write(tmp_path, r.IMPRESSIONS, [shown("r1", 0, "i1"), shown("r2", 0, "i1", propensity)])
    with pytest.raises(
        DataError, match=r"1 explored impressions without a propensity in \(0, 1\], .* 'r2' at position"
    ):
        read_explored(tmp_path, ("click",), 1_800, START + 6_000)
