"""Compaction of recorded tables: one of each, nobody who was erased, clicks by hand."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from contracts import columns as c
from contracts import records as r
from contracts.clock import DAY_S, day_to_name
from training.compaction import CompactConfig, Compacted, compact
from training.records import find_records, read_records
from training.tables import empty_table

DAY = 20_000
START = DAY * DAY_S
LATER = START + 10 * DAY_S
CONFIG = CompactConfig(attribution_minutes=30)


def write(
    folder: Path, schema: c.TableSchema, rows: Sequence[dict[str, Any]], name: str, day: int | None = DAY
) -> Path:
    types = empty_table(schema).schema
    place = folder / schema.name / (f"day={day_to_name(day)}" if day is not None else "")
    place.mkdir(parents=True, exist_ok=True)
    pa.parquet.write_table(pa.Table.from_pylist(list(rows), schema=types), place / f"{name}.parquet")
    return place / f"{name}.parquet"


def event(event_id: str, at: int = 0, user_id: str | None = "u1", **values: Any) -> dict[str, Any]:
    given = {"item_id": "i1", "event": "click", "accepted_ms": 1000 * (START + at), "session_id": "s1"}
    return {**given, "event_id": event_id, "user_id": user_id, "timestamp": START + at, **values}


def shown(request_id: str, at: int, item_id: str = "i1", **values: Any) -> dict[str, Any]:
    given = {"request_id": request_id, "item_id": item_id, "timestamp": START + at, "user_id": "u1", "position": 0}
    return {**given, **values}


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def column(folder: Path, schema: c.TableSchema, name: str) -> list[Any]:
    return read_records(folder, schema)[name].to_pylist()


def test_a_day_becomes_one_sorted_file_with_one_of_each_event(tmp_path: Path) -> None:
    write(tmp_path, r.INTERACTIONS, [event("b", 5), event("a", 5), event("c", 1)], "part-1")
    write(tmp_path, r.INTERACTIONS, [event("c", 1, accepted_ms=7), event("d", 9, None), event("d", 9, None)], "part-2")
    write(tmp_path, r.INTERACTIONS, [event("e", DAY_S)], "part-1", DAY + 1)
    done = compact(tmp_path, CONFIG, LATER)
    assert done == Compacted(events=5, repeats=2, erased=0, days=2, clicks=0)
    assert column(tmp_path, r.INTERACTIONS, "event_id") == ["c", "a", "b", "d", "e"]
    assert column(tmp_path, r.INTERACTIONS, "accepted_ms")[0] == 7  # when it was accepted first
    assert len(files(tmp_path)) == 2


def test_an_id_that_a_subject_used_twice_hides_no_event(tmp_path: Path) -> None:
    others = [event("a", event="purchase"), event("a", item_id="i2"), event("a", 1), event("a", user_id="u2")]
    write(tmp_path, r.INTERACTIONS, [event("a"), event("a"), *others], "part-1")
    assert compact(tmp_path, CONFIG, LATER).events == 5


def test_what_is_compacted_stays_as_it_is(tmp_path: Path) -> None:
    write(tmp_path, r.INTERACTIONS, [event("a")], "part-1")
    compact(tmp_path, CONFIG, LATER)
    before = {path: path.stat().st_mtime_ns for path in files(tmp_path)}
    assert compact(tmp_path, CONFIG, LATER) == Compacted(events=1, repeats=0, erased=0, days=0, clicks=0)
    assert {path: path.stat().st_mtime_ns for path in files(tmp_path)} == before


def test_later_parts_join_the_compacted_file(tmp_path: Path) -> None:
    part = write(tmp_path, r.INTERACTIONS, [event("a"), event("b", 1)], "part-1")
    content = part.read_bytes()
    compact(tmp_path, CONFIG, LATER)
    part.write_bytes(content)  # handed out once more
    write(tmp_path, r.INTERACTIONS, [event("c", 2)], "part-2")
    done = compact(tmp_path, CONFIG, LATER)
    assert (done.events, done.repeats) == (3, 2)
    assert column(tmp_path, r.INTERACTIONS, "event_id") == ["a", "b", "c"]


def test_a_run_that_was_killed_between_its_two_steps_loses_and_repeats_nothing(tmp_path: Path) -> None:
    first = write(tmp_path, r.INTERACTIONS, [event("a")], "part-1")
    second = write(tmp_path, r.INTERACTIONS, [event("b")], "part-2")
    contents = first.read_bytes(), second.read_bytes()
    compact(tmp_path, CONFIG, LATER)
    first.write_bytes(contents[0])
    second.write_bytes(contents[1])
    assert len(find_records(tmp_path, r.INTERACTIONS).files) == 3
    assert compact(tmp_path, CONFIG, LATER).events == 2
    assert len(files(tmp_path)) == 1


def test_what_was_compacted_goes_only_when_the_new_file_is_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk fails after the new file got its name, before the folder is on the disk."""
    parts = [write(tmp_path, r.INTERACTIONS, [event(name)], f"part-{name}") for name in "ab"]

    def fail_for_folders(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EIO, "disk")

    monkeypatch.setattr(os, "fsync", fail_for_folders)
    with pytest.raises(OSError, match="disk"):
        compact(tmp_path, CONFIG, LATER)
    assert all(part.exists() for part in parts)


def test_erased_users_are_removed_everywhere_also_from_compacted_days(tmp_path: Path) -> None:
    write(tmp_path, r.INTERACTIONS, [event("a"), event("b", user_id="u2"), event("c", user_id=None)], "part-1")
    value = {"top_category": "shoes", "event_timestamp": START, "served_ms": 5}
    write(tmp_path, r.USER_ACTIVITY, [{"user_id": "u1", **value}, {"user_id": "u2", **value}], "part-1")
    snapshot = {"top_category": "shoes", "top_category_long": None, "served_ms": 6}
    write(tmp_path, r.SNAPSHOTS, [{"user_id": "u2", **snapshot}, {"user_id": "u1", **snapshot}], "part-6")
    write(tmp_path, c.IMPRESSIONS, [shown("r1", 0), shown("r2", 0, user_id="u2")], "part-1")
    compact(tmp_path, CONFIG, LATER)
    write(tmp_path, r.TOMBSTONES, [{"user_id": "u1", "erased_at": START}], "part-1", None)
    done = compact(tmp_path, CONFIG, LATER)
    assert (done.events, done.erased) == (2, 4)
    assert column(tmp_path, r.INTERACTIONS, "user_id") == ["u2", None]
    assert column(tmp_path, r.USER_ACTIVITY, "user_id") == ["u2"]
    assert column(tmp_path, r.SNAPSHOTS, "user_id") == ["u2"]
    assert column(tmp_path, c.IMPRESSIONS, "user_id") == ["u2"]
    assert compact(tmp_path, CONFIG, LATER).days == 0
    assert not any(b"u1" in path.read_bytes() for path in files(tmp_path) if "tombstones" not in str(path))


def test_clicks_follow_within_the_minutes_of_the_request(tmp_path: Path) -> None:
    midnight = DAY_S - 60
    impressions = [
        shown("r1", 100),
        shown("r1", 100, "i2", position=1),
        shown("r2", 100),
        shown("r3", 100),
        shown("r4", 100),
        shown("r5", midnight),
        shown("r6", 100, clicked=False),  # long ago, before its click was recorded
    ]
    write(tmp_path, c.IMPRESSIONS, impressions, "part-1")
    events = [
        event("1", 100 + 1_800, request_id="r1"),
        event("2", 100 + 1_801, request_id="r2"),
        event("3", 99, request_id="r3"),  # by a clock that is slow
        event("4", 200, request_id="r4", event="view"),
        event("6", 200, request_id="r6"),
        event("7", 200),
    ]
    write(tmp_path, r.INTERACTIONS, events, "part-1")
    write(tmp_path, r.INTERACTIONS, [event("5", midnight + 120, request_id="r5", event="cart")], "part-1", DAY + 1)
    assert compact(tmp_path, CONFIG, LATER).clicks == 3
    rows = read_records(tmp_path, c.IMPRESSIONS).select(["request_id", "item_id", "clicked"]).to_pylist()
    clicked = {(row["request_id"], row["item_id"]): row["clicked"] for row in rows}
    assert clicked == {
        ("r1", "i1"): True,
        ("r1", "i2"): False,
        ("r2", "i1"): False,
        ("r3", "i1"): True,
        ("r4", "i1"): False,
        ("r5", "i1"): True,
        ("r6", "i1"): False,
    }
    assert compact(tmp_path, CONFIG, LATER).clicks == 0


def test_an_event_id_of_one_subject_says_nothing_about_another(tmp_path: Path) -> None:
    same = [event("1"), event("1", user_id="u2"), event("1", user_id=None, session_id="u1"), event("1", item_id="i2")]
    write(tmp_path, r.INTERACTIONS, [*same, event("1", 60), *same], "part-1")
    assert compact(tmp_path, CONFIG, LATER).repeats == 4
    assert len(read_records(tmp_path, r.INTERACTIONS)) == 5


def test_visitors_under_one_request_id_keep_what_they_saw_and_a_third_one_clicks_for_nobody(tmp_path: Path) -> None:
    nobody = {"user_id": None, "session_id": None}
    impressions = [
        shown("r", 0),
        shown("r", 0, user_id="u2"),
        shown("r", 0, user_id=None, session_id="u1"),
        shown("r", 0, user_id=None, session_id="s2"),
        shown("own", 0, **nobody),
        shown("own", 0, **nobody),
    ]
    write(tmp_path, r.IMPRESSIONS, impressions, "part-1")
    events = [
        event("1", 5, "u1", request_id="r", session_id="s2"),  # somebody who logged in
        event("2", 5, "u3", request_id="r", session_id="s3"),
        event("3", 5, None, request_id="own", session_id="s4"),
    ]
    write(tmp_path, r.INTERACTIONS, events, "part-1")
    assert compact(tmp_path, CONFIG, LATER).repeats == 1
    rows = read_records(tmp_path, r.IMPRESSIONS).select(["request_id", "user_id", "session_id", "clicked"]).to_pylist()
    assert {tuple(row.values())[:3]: row["clicked"] for row in rows} == {
        ("r", "u1", None): True,
        ("r", "u2", None): False,
        ("r", None, "u1"): False,
        ("r", None, "s2"): True,
        ("own", None, None): True,
    }


def test_clicks_that_may_still_come_are_not_known(tmp_path: Path) -> None:
    write(tmp_path, c.IMPRESSIONS, [shown("r1", 0), shown("r2", 0, position=1), shown("r3", 60, position=2)], "part-1")
    write(tmp_path, r.INTERACTIONS, [event("1", 10, request_id="r1")], "part-1")
    compact(tmp_path, CONFIG, START + 1_801)
    assert column(tmp_path, c.IMPRESSIONS, "clicked") == [True, False, None]
    write(tmp_path, r.INTERACTIONS, [event("2", 1_850, request_id="r3")], "part-2")
    compact(tmp_path, CONFIG, START + 1_900)
    assert column(tmp_path, c.IMPRESSIONS, "clicked") == [True, False, True]


def test_a_click_that_is_recorded_late_counts_for_some_days(tmp_path: Path) -> None:
    write(tmp_path, c.IMPRESSIONS, [shown("r1", 0), shown("r2", 5, position=1)], "part-1")
    closed = START + 5 + 1_800
    compact(tmp_path, CONFIG, closed + 1)
    assert column(tmp_path, c.IMPRESSIONS, "clicked") == [False, False]
    before = files(tmp_path)
    compact(tmp_path, CONFIG, closed + DAY_S)
    assert files(tmp_path) == before, "nothing came, nothing is written anew"
    write(tmp_path, r.INTERACTIONS, [event("1", 10, request_id="r1"), event("2", 10, request_id="r2")], "part-2")
    late = CONFIG.model_copy(update={"late_days": 2})
    assert compact(tmp_path, late, closed + 2 * DAY_S).clicks == 1  # r1 was shown five seconds earlier: too late
    assert column(tmp_path, c.IMPRESSIONS, "clicked") == [False, True]
    assert compact(tmp_path, late, closed + 2 * DAY_S).clicks == 0


def test_half_written_files_of_killed_processes_go_after_an_hour(tmp_path: Path) -> None:
    part = write(tmp_path, r.INTERACTIONS, [event("a")], "part-1")
    old, new = part.with_name(".part-2.parquet.1.tmp"), part.with_name(".part-3.parquet.1.tmp")
    old.write_bytes(b"half")
    new.write_bytes(b"half")
    os.utime(old, (time.time() - 4_000,) * 2)
    compact(tmp_path, CONFIG, LATER)
    assert not old.exists()
    assert new.exists()


@pytest.mark.parametrize("there", [True, False])
def test_a_shop_without_records(tmp_path: Path, there: bool) -> None:
    folder = tmp_path if there else tmp_path / "none"
    assert compact(folder, CONFIG, LATER) == Compacted(events=0, repeats=0, erased=0, days=0, clicks=0)
