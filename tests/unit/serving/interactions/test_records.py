"""Files of records: by day, by content, readable as raw tables."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from contracts import records as r
from contracts.clock import DAY_S, ShopCalendar
from contracts.errors import DataError
from contracts.interactions import Erasure, Interaction
from serving.interactions.records import LAST_TIMESTAMP, RecordWriter, check_timestamp
from serving.stores.top_category import ServedValue
from tests.fixtures.streams import event
from training.tables import find_table, read_files

NOON = 20_000 * DAY_S + DAY_S // 2
SNAPSHOT = pa.schema([(name, pa.string()) for name in r.SNAPSHOTS.names[:-1]] + [(r.SERVED_MS, pa.int64())])


@pytest.fixture
def writer(tmp_path: Path) -> RecordWriter:
    return RecordWriter(tmp_path, ShopCalendar("Europe/Berlin"))


def files(folder: Path) -> list[str]:
    return sorted(str(path.parent.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_events_lie_under_their_own_shop_local_day(writer: RecordWriter, tmp_path: Path) -> None:
    full = Interaction(
        event_id="e1",
        item_id="i1",
        event="click",
        timestamp=NOON,
        accepted_at=NOON + 5,
        user_id="u1",
        session_id="s1",
        device_type="mobile",
        request_id="r1",
        context={"country": "de", "page": 3.0},
    )
    late = event(2, None, timestamp=NOON + 11 * 3_600)  # 01:00 in Berlin
    writer.interactions([(full, 123_456), (late, 123_457)])
    assert files(tmp_path) == ["interactions/day=2024-10-04", "interactions/day=2024-10-05"]
    rows = read_files(find_table(tmp_path, r.INTERACTIONS)).to_pylist()
    assert rows[0] == {
        "user_id": "u1",
        "session_id": "s1",
        "item_id": "i1",
        "timestamp": NOON,
        "device_type": "mobile",
        "event": "click",
        "event_id": "e1",
        "request_id": "r1",
        "accepted_ms": 123_456,
        "late_s": 5,
        "context": '{"country":"de","page":3.0}',
    }
    assert (rows[1]["user_id"], rows[1]["session_id"], rows[1]["device_type"]) == (None, "s1", None)
    assert rows[1]["context"] is None


def test_the_same_batch_again_replaces_its_files(writer: RecordWriter, tmp_path: Path) -> None:
    batch = [(event(number, timestamp=NOON), number) for number in range(3)]
    writer.interactions(batch)
    writer.interactions(batch)
    assert len(files(tmp_path)) == 1
    writer.interactions(batch[:2])
    assert len(files(tmp_path)) == 2


def test_served_values_and_erased_users(writer: RecordWriter, tmp_path: Path) -> None:
    writer.served([(ServedValue(user_id="u1", top_category=None, event_timestamp=5), 1000 * NOON + 7)])
    writer.tombstones([Erasure(user_id="u1", erased_at=9)])
    writer.tombstones([])
    assert files(tmp_path) == ["tombstones", "user_activity/day=2024-10-04"]
    assert read_files(find_table(tmp_path, r.USER_ACTIVITY)).to_pylist() == [
        {"user_id": "u1", "top_category": None, "event_timestamp": 5, "served_ms": 1000 * NOON + 7}
    ]
    assert read_files(find_table(tmp_path, r.TOMBSTONES)).to_pylist() == [{"user_id": "u1", "erased_at": 9}]


def test_snapshots_lie_under_the_day_on_which_they_were_taken(writer: RecordWriter, tmp_path: Path) -> None:
    served_ms = 1_000 * (NOON + 11 * 3_600)  # 01:00 in Berlin
    row = {"user_id": "u1", "top_category": "lamps", "top_category_long": None, "served_ms": served_ms}
    rows = pa.Table.from_pylist([row], schema=SNAPSHOT)
    writer.snapshot(rows)
    writer.snapshot(rows)
    writer.snapshot(rows.slice(0, 0))
    assert files(tmp_path) == ["snapshots/day=2024-10-05"]
    assert read_files(find_table(tmp_path, r.SNAPSHOTS)).to_pylist() == [row]


def test_a_write_that_fails_leaves_nothing(writer: RecordWriter, tmp_path: Path) -> None:
    (tmp_path / "interactions").write_text("in the way")
    with pytest.raises(OSError, match="interactions"):
        writer.interactions([(event(1, timestamp=NOON), 1)])
    assert files(tmp_path) == ["."]


def test_an_unfinished_file_is_no_table(writer: RecordWriter, tmp_path: Path) -> None:
    writer.interactions([(event(1, timestamp=NOON), 1)])
    (part,) = tmp_path.rglob("*.parquet")
    part.with_name(f".{part.name}.1.tmp").write_bytes(b"half")
    assert len(pq.read_table(part)) == len(read_files(find_table(tmp_path, r.INTERACTIONS))) == 1


@pytest.mark.parametrize("timestamp", [-1, LAST_TIMESTAMP, 2**62])
def test_times_without_a_day_are_refused(timestamp: int) -> None:
    check_timestamp(LAST_TIMESTAMP - 1)
    with pytest.raises(DataError, match=f"timestamp {timestamp} is no time in Unix seconds"):
        check_timestamp(timestamp)
