from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from contracts import columns as c
from contracts.clock import ShopCalendar, SimulatedClock, day_to_name
from contracts.errors import DataError
from training.simulator import SimulatorConfig, simulate, tables
from training.simulator.truth import Truth
from training.tables import empty_table


def read(raw: Path, name: str) -> pd.DataFrame:
    return ds.dataset(raw / name, partitioning="hive").to_table().to_pandas()


@pytest.mark.parametrize("schema", [c.USERS, c.ITEMS, c.INTERACTIONS, c.IMPRESSIONS], ids=lambda schema: schema.name)
def test_tables_have_the_contracts_columns(debug_raw: Path, schema: c.TableSchema) -> None:
    files = sorted((debug_raw / schema.name).rglob("*.parquet"))
    assert len(files) == (14 if schema.partitioned else 1)
    for file in files:
        written = pq.read_schema(file)
        assert set(written.names) <= set(schema.names)
        for column in schema.columns:
            assert column.name in written.names or not column.required
        for field in written:
            assert field.type == empty_table(schema).schema.field(field.name).type


def test_events_are_ordered_and_about_as_many_as_asked(debug_raw: Path) -> None:
    events = read(debug_raw, "interactions")
    assert 7_900 < len(events) <= 8_000
    assert events.event_id.is_unique
    assert not events.isna().any().any()
    by_user = events.sort_values([c.USER_ID, c.TIMESTAMP])
    same = by_user.user_id.eq(by_user.user_id.shift())
    assert (by_user.timestamp.diff()[same] > 0).all()
    assert (by_user.event_id > by_user.event_id.shift())[same].all()
    assert events.sort_values(c.EVENT_ID).timestamp.is_monotonic_increasing


def test_sessions_are_runs_with_gaps_below_thirty_minutes(debug_raw: Path) -> None:
    events = read(debug_raw, "interactions").sort_values([c.USER_ID, c.TIMESTAMP])
    gap = events.timestamp.diff().where(events.user_id.eq(events.user_id.shift()), np.inf)
    runs = (gap >= 1_800).cumsum()
    assert (events.groupby(runs).session_id.nunique() == 1).all()
    assert runs.nunique() == events.session_id.nunique()
    assert (events.groupby(c.SESSION_ID).device_type.nunique() == 1).all()


def test_only_launched_items_are_chosen_or_shown(debug_raw: Path) -> None:
    launched_at = read(debug_raw, "items").set_index(c.ITEM_ID).launched_at
    for name in ("interactions", "impressions"):
        rows = read(debug_raw, name)
        assert (rows.timestamp.to_numpy() >= launched_at[rows.item_id].to_numpy()).all()
    period = Truth.open(debug_raw).period
    new = launched_at[launched_at > period.bounds[0]]
    assert len(new) == 24  # 8 % of 300
    assert read(debug_raw, "interactions").item_id.isin(new.index).any()


def test_partitions_are_shop_local_days(tmp_path: Path) -> None:
    simulate(
        SimulatorConfig(
            size="debug",
            num_items=30,
            num_events=2_000,
            start_date=date(2026, 3, 28),
            num_days=3,
            timezone="Asia/Tokyo",
        ),
        tmp_path / "raw",
    )
    events = read(tmp_path / "raw", "interactions")
    days = ShopCalendar("Asia/Tokyo").day(events.timestamp.to_numpy())
    assert [day_to_name(day) for day in days] == events.day.tolist()
    assert sorted(events.day.unique()) == ["2026-03-28", "2026-03-29", "2026-03-30"]


def test_kinds_of_events_are_mixed_as_stated(debug_raw: Path) -> None:
    shares = read(debug_raw, "interactions").event.value_counts(normalize=True)
    assert set(shares.index) == set(c.EVENTS)
    for name, stated in zip(c.EVENTS, tables.EVENT_PROBS, strict=True):
        assert abs(shares[name] - stated) < 4 * np.sqrt(stated * (1 - stated) / 7_900)


def test_slates_have_ten_different_items_at_the_moment_of_an_event(debug_raw: Path) -> None:
    shown, events = read(debug_raw, "impressions"), read(debug_raw, "interactions")
    slates = shown.groupby(c.REQUEST_ID)
    assert len(slates) == 14 * 50
    assert (slates.item_id.nunique() == 10).all()
    assert (slates.position.agg(list).map(tuple) == tuple(range(10))).all()
    assert shown.propensity.between(0, 1, inclusive="right").all()
    keys = [c.USER_ID, c.TIMESTAMP, c.SESSION_ID, c.DEVICE_TYPE]
    assert len(shown.drop_duplicates(keys).merge(events, on=keys)) == 14 * 50


def test_same_seed_same_tables_other_seed_other_tables(
    debug_raw: Path, debug_config: SimulatorConfig, tmp_path: Path
) -> None:
    simulate(debug_config, tmp_path / "again")
    simulate(debug_config.model_copy(update={"seed": 4}), tmp_path / "other")
    for name in ("users", "items", "interactions", "impressions"):
        table = read(debug_raw, name)
        pd.testing.assert_frame_equal(table, read(tmp_path / "again", name))
        assert not table.equals(read(tmp_path / "other", name))
    picture = "images/i1.png"
    assert (debug_raw / picture).read_bytes() == (tmp_path / "again" / picture).read_bytes()
    assert (debug_raw / picture).read_bytes() != (tmp_path / "other" / picture).read_bytes()


def test_the_period_ends_yesterday_in_the_shop(tmp_path: Path) -> None:
    config = SimulatorConfig(size="debug", num_items=30, num_events=500, timezone="Asia/Tokyo", num_days=2)
    # 2026-03-02 23:00 UTC is already 2026-03-03 in Tokyo.
    summary = simulate(config, tmp_path / "raw", SimulatedClock(1_772_492_400))
    assert (summary.first_day, summary.last_day) == ("2026-03-01", "2026-03-02")
    assert (summary.preset, summary.size, summary.num_impressions) == ("hard", "debug", 2 * 50 * 10)
    # A simulation may be replaced.
    again = simulate(config.model_copy(update={"seed": 1}), tmp_path / "raw", SimulatedClock(1_772_492_400))
    assert again.num_users == 500
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match="holds what no simulation wrote; choose another raw_dir or empty it"):
        simulate(SimulatorConfig(size="debug"), tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_users_have_the_stated_ages_and_truth_matches_the_tables(debug_raw: Path) -> None:
    users, truth = read(debug_raw, "users"), Truth.open(debug_raw)
    assert users.age.between(16, 84).all()
    assert abs((users.age < 25).mean() - 0.18) < 0.07
    assert truth.latent.shape == (500, 1)
    assert truth.model.num_items == 300
    assert truth.model.launched.shape == (14, 300)


def test_truth_is_missing_beside_other_tables(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no truth/ in .*: only simulated tables have a known best ranking"):
        Truth.open(tmp_path)
