"""Training reads what serving recorded: its events, and the feature values that it served."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from contracts import columns as c
from contracts import records as r
from contracts.clock import DAY_S, day_to_name
from contracts.vocabulary import Vocabulary
from tests.fixtures.raw_tables import FIRST_DAY, START, write_shop, write_table
from training.features.config import PreprocessConfig
from training.features.preprocess import preprocess
from training.features.processed import Processed, open_processed
from training.records import ServedValues, ValueLog, erased_users, erasures
from training.tables import empty_table

CONFIG = PreprocessConfig(num_partitions=2)


def write(folder: Path, schema: c.TableSchema, rows: list[dict[str, Any]], day: int | None) -> None:
    types = empty_table(schema).schema
    place = folder / schema.name / (f"day={day_to_name(day)}" if day is not None else "")
    place.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=types), place / "part-0.parquet")


def online(event_id: str, at: float, user_id: str, item_id: str, **values: Any) -> dict[str, Any]:
    timestamp = START + round(at * DAY_S)
    row = {"event_id": event_id, "user_id": user_id, "item_id": item_id, "timestamp": timestamp, "event": "view"}
    return {**row, "accepted_ms": 1000 * timestamp + 500, **values}


def value(user_id: str, at: float, category: str | None) -> dict[str, Any]:
    timestamp = START + round(at * DAY_S)
    row = {"user_id": user_id, "top_category": category, "event_timestamp": timestamp}
    return {**row, "served_ms": 1000 * timestamp + 520}


def run(folder: Path, records: Path | None, records_end: int | None = FIRST_DAY + 10) -> Processed:
    preprocess(CONFIG, folder / "raw", folder / "processed", shop="tiny", records_dir=records, records_end=records_end)
    return open_processed(folder / "processed")


def tops(processed: Processed, *, long: bool = False) -> dict[str, str | None]:
    """`top_category`, or `top_category_long`, by event id."""
    names = [None, *processed.transforms.vocabularies[c.CATEGORY_L1].tokens]
    codes = processed.events().context_codes(c.TOP_CATEGORY_LONG if long else c.TOP_CATEGORY)
    return {event_id: names[code] for event_id, code in zip(processed.event_ids(), codes, strict=True)}


@pytest.fixture
def folder(tmp_path: Path, without_ray: None) -> Path:
    write_shop(tmp_path / "raw")
    return tmp_path


def test_recorded_events_join_those_of_the_shop(folder: Path) -> None:
    alone = run(folder, None)
    write(
        folder / "records",
        r.INTERACTIONS,
        [online("o1", 4.6, "u1", "i1"), online("o2", 4.7, "new", "i2"), online("o3", 4.8, "u1", "gone")],
        FIRST_DAY + 4,
    )
    write(folder / "records", r.INTERACTIONS, [online("o4", 5.1, "u3", "i3")], FIRST_DAY + 5)
    both = run(folder, folder / "records")
    assert both.info.last_day == alone.info.last_day + 1  # the days go on
    assert both.info.counts["events"] == alone.info.counts["events"] + 3
    assert both.info.kept_out == {"unknown_item": 1}
    assert both.info.missing == alone.info.missing
    assert both.info.fingerprint != alone.info.fingerprint
    assert set(both.event_ids()) >= {"o1", "o2", "o4"}
    assert pq.read_table(both.path / "users.parquet")["user_id"].to_pylist() == ["u1", "u2", "u3", "new"]


def test_an_event_that_the_shop_logs_too_counts_once_and_as_recorded(folder: Path) -> None:
    write(folder / "raw", c.INTERACTIONS, [online("o1", 4.6, "u1", "i1"), online("o2", 4.7, "u1", "i1")], FIRST_DAY + 4)
    write(folder / "records", r.INTERACTIONS, [online("o1", 4.6, "u1", "i1")], FIRST_DAY + 4)
    write(folder / "records", r.USER_ACTIVITY, [value("u1", 4.5, "tables")], FIRST_DAY + 4)
    processed = run(folder, folder / "records")
    assert processed.info.kept_out == {"recorded_event": 1}
    assert tops(processed)["o1"] == "tables"


def test_the_shops_own_row_may_tell_another_second(folder: Path) -> None:
    rows = [online("o1", 4.6, "u1", "i1"), online("o1", 4.6, "u2", "i1"), online("o1", 4.6, "u1", "i2")]
    write(folder / "raw", c.INTERACTIONS, rows, FIRST_DAY + 4)
    write(folder / "records", r.INTERACTIONS, [online("o1", 4.61, "u1", "i1")], FIRST_DAY + 4)
    processed = run(folder, folder / "records")
    assert processed.info.kept_out == {"recorded_event": 1}
    assert processed.event_ids().tolist().count("o1") == 3


def test_features_are_those_that_were_served(folder: Path) -> None:
    """Serving lags: the value that it wrote after an event counts from then on, not from the event on."""
    events = [
        online("before", 4.60, "u1", "i1"),  # serving has written nothing yet: as computed, i4 has no category
        online("same", 4.61, "u1", "i3", accepted_ms=value("u1", 4.61, "")["served_ms"]),  # at the very moment
        online("after", 4.62, "u1", "i3"),
        online("later", 4.63, "u1", "i3"),
        online("other", 4.63, "u2", "i1"),
        online("unknown", 4.66, "u1", "i3"),
        online("none", 4.68, "u1", "i3"),
    ]
    values = [
        value("u1", 4.61, "lamps"),
        value("u1", 4.625, "tables"),
        value("u1", 4.65, "a category of yesterday"),
        value("u1", 4.67, None),
        value("u3", 4.0, "tables"),
    ]
    write(folder / "records", r.INTERACTIONS, events, FIRST_DAY + 4)
    write(folder / "records", r.USER_ACTIVITY, values[::-1], FIRST_DAY + 4)
    assert {name: top for name, top in tops(run(folder, folder / "records")).items() if name in {"before", "same"}} == {
        "before": None,
        "same": "lamps",  # as computed: i1 at 4.60 is the one event of the last 24 hours with a category
    }
    found = tops(open_processed(folder / "processed"))
    names = ("after", "later", "other", "unknown", "none")
    assert [found[name] for name in names] == ["lamps", "tables", "lamps", None, None]


def test_a_late_event_has_the_features_of_its_own_time(folder: Path) -> None:
    """It happened before serving wrote a value, and was accepted after that."""
    late_s = round(0.05 * DAY_S)
    accepted_ms = value("u1", 4.66, "")["served_ms"]
    events = [online("on time", 4.62, "u1", "i3"), online("late", 4.61, "u1", "i3", accepted_ms=accepted_ms)]
    events[1]["late_s"] = late_s
    values = [value("u1", 4.605, "lamps"), value("u1", 4.615, "tables"), value("u1", 4.65, "later")]
    write(folder / "records", r.INTERACTIONS, events, FIRST_DAY + 4)
    write(folder / "records", r.USER_ACTIVITY, values, FIRST_DAY + 4)
    found = tops(run(folder, folder / "records"))
    assert (found["late"], found["on time"]) == ("lamps", "tables")


def test_records_of_an_older_version_do_not_tell_how_late(folder: Path) -> None:
    write(folder / "records", r.INTERACTIONS, [online("old", 4.62, "u1", "i3")], FIRST_DAY + 4)
    path = next((folder / "records").rglob("part-0.parquet"))
    pq.write_table(pq.read_table(path).drop_columns([r.LATE_S]), path.with_name("part-1.parquet"))
    path.unlink()
    write(folder / "records", r.INTERACTIONS, [online("new", 5.62, "u1", "i3", late_s=0)], FIRST_DAY + 5)
    write(folder / "records", r.USER_ACTIVITY, [value("u1", 4.61, "lamps")], FIRST_DAY + 4)
    found = tops(run(folder, folder / "records"))
    assert (found["old"], found["new"]) == ("lamps", "lamps")


def somebody_else(folder: Path) -> None:
    """An event of u2 on the last day, which would be empty without u1."""
    columns = {"user_id": ["u2"], "item_id": ["i2"], "timestamp": [START + 4 * DAY_S]}
    write_table(folder / "raw" / "interactions" / f"day={day_to_name(FIRST_DAY + 4)}", columns, "more.parquet")


def test_erased_users_leave_no_row(folder: Path) -> None:
    somebody_else(folder)
    write(folder / "records", r.INTERACTIONS, [online("o1", 4.6, "u1", "i1")], FIRST_DAY + 4)
    write(folder / "records", r.TOMBSTONES, [{"user_id": "u1", "erased_at": START}], None)
    processed = run(folder, folder / "records")
    assert processed.info.kept_out == {"erased_user": 7}
    assert set(processed.events().subject_ids) == {"u2", "s1"}
    assert pq.read_table(processed.path / "users.parquet")["user_id"].to_pylist() == ["u2", "u3"]
    assert "u1" not in (processed.path / "report.json").read_text()


def test_erased_users_leave_no_row_where_nothing_else_is_read_of_the_records(folder: Path) -> None:
    somebody_else(folder)
    before = run(folder, folder / "records", None)
    write(folder / "records", r.INTERACTIONS, [online("o1", 4.6, "u2", "i1")], FIRST_DAY + 4)
    write(folder / "records", r.USER_ACTIVITY, [value("u2", 1.0, "tables")], FIRST_DAY + 1)
    write(folder / "records", r.TOMBSTONES, [{"user_id": "u1", "erased_at": START}], None)
    processed = run(folder, folder / "records", None)
    assert processed.info.kept_out == {"erased_user": 6}
    assert set(processed.events().subject_ids) == {"u2", "s1"}
    assert processed.info.counts["events"] == 4
    assert processed.info.fingerprint != before.info.fingerprint


def test_a_day_that_is_not_over_is_not_read(folder: Path) -> None:
    """Materialize takes the last day for complete: what came in after preprocessing would be taken away online."""
    write(folder / "records", r.INTERACTIONS, [online("o1", 5.1, "u1", "i1")], FIRST_DAY + 5)
    write(folder / "records", r.INTERACTIONS, [online("o2", 6.1, "u1", "i1")], FIRST_DAY + 6)
    processed = run(folder, folder / "records", FIRST_DAY + 6)
    assert processed.info.last_day == FIRST_DAY + 5
    assert {"o1", "o2"} & set(processed.event_ids()) == {"o1"}


def test_an_event_posted_late_does_not_move_the_window(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(folder / "records", r.INTERACTIONS, [online("old", -25.5, "u1", "i1")], FIRST_DAY - 26)
    write(folder / "records", r.INTERACTIONS, [online("o1", 5.1, "u1", "i1")], FIRST_DAY + 5)
    with caplog.at_level("INFO"):
        processed = run(folder, folder / "records")
    assert (processed.info.first_day, processed.info.last_day) == (FIRST_DAY, FIRST_DAY + 5)
    assert {"old", "o1"} & set(processed.event_ids()) == {"o1"}
    assert "recorded interactions of 1 days from 2024-09-08 on are left out" in caplog.text


def test_the_last_erasure_of_a_user_counts(tmp_path: Path) -> None:
    rows = [{"user_id": user, "erased_at": at} for user, at in (("u2", 5), ("u1", 7), ("u2", 9))]
    write(tmp_path, r.TOMBSTONES, rows, None)
    assert erasures(tmp_path) == {"u1": 7, "u2": 9}
    assert erased_users(tmp_path).to_pylist() == ["u1", "u2"]
    assert erasures(tmp_path / "nothing") == erasures(None) == {}


def log(*rows: tuple[int, int, int]) -> ValueLog:
    users, times, codes = np.array(rows, dtype=np.int64).reshape(-1, 3).T
    return ValueLog.of(users.astype(np.int32), times, codes.astype(np.int32))


def test_values_by_user_and_time() -> None:
    logs = {"top_category": log((5, 150, 9), (2, 200, 8), (2, 100, 7)), "top_category_long": log()}
    served = ServedValues(logs, np.zeros(0, dtype=np.int64))
    users = np.array([2, 2, 2, 2, 2, 5, 5, 0, 9], dtype=np.int32)
    times = np.array([0, 100, 101, 200, 10**15, 150, 151, 160, 160])
    found = served.as_of(users, times)
    assert found["top_category"].tolist() == [-1, -1, 7, 7, 8, -1, 9, -1, -1]
    assert found["top_category_long"].tolist() == [-1] * 9
    nothing = ServedValues.read(None, ["u1"], Vocabulary(()))
    assert [codes.tolist() for codes in nothing.as_of(users, times).values()] == [[-1] * 9] * 2


def test_who_is_not_in_the_last_snapshot_had_no_value() -> None:
    """Snapshots at 100 (users 1 and 2) and 200 (user 1 only); the consumer wrote 3 at 150 and 2 at 250."""
    served = ServedValues(
        {
            "top_category": log((1, 100, 4), (2, 100, 5), (1, 200, 6), (3, 150, 7), (2, 250, 8)),
            "top_category_long": log((1, 100, 40), (2, 100, 50), (1, 200, 60)),
        },
        np.array([100, 200]),
    )
    times = [100, 101, 151, 200, 201, 251]
    expected = {
        1: ([-1, 4, 4, 4, 6, 6], [-1, 40, 40, 40, 60, 60]),
        2: ([-1, 5, 5, 5, 0, 8], [-1, 50, 50, 50, 0, 0]),
        3: ([-1, 0, 7, 7, 0, 0], [-1, 0, 0, 0, 0, 0]),
    }
    for user, both in expected.items():
        found = served.as_of(np.full(len(times), user, dtype=np.int32), np.array(times))
        assert tuple(codes.tolist() for codes in found.values()) == both


def test_snapshots_are_joined(folder: Path) -> None:
    """What materialize put online counts from then on, also that it had nothing for somebody."""
    events = [online("before", 4.60, "u1", "i1"), online("after", 4.62, "u1", "i1"), online("new", 4.62, "u9", "i1")]
    write(folder / "records", r.INTERACTIONS, [*events, online("again", 4.63, "u9", "i1")], FIRST_DAY + 4)
    shown = {"user_id": "u1", "top_category": "lamps", "top_category_long": "lamps"}
    write(
        folder / "records", r.SNAPSHOTS, [{**shown, "served_ms": 1000 * (START + round(4.61 * DAY_S))}], FIRST_DAY + 4
    )
    processed = run(folder, folder / "records")
    assert (tops(processed)["before"], tops(processed, long=True)["before"]) == (None, "tables")  # as computed
    assert (tops(processed)["after"], tops(processed, long=True)["after"]) == ("lamps", "lamps")
    assert tops(processed)["again"] is None  # its event before is not known online: nobody had written it
