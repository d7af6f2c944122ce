from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.last_events import Split
from benchmarks.sequence_tables import convert_recbole, places_in_order, process, write_ordered
from contracts.clock import DAY_S
from contracts.errors import DataError
from tests.fixtures.plain_preprocess import run_without_ray
from training.features import preprocess as job

INTER = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n" + "".join(
    f"{user}\t{item}\t3\t{time}\n"
    for user, item, time in [
        ("u1", "i3", 900),
        ("u1", "i1", 500),
        ("u2", "i1", 86_500),
        ("u1", "i2", 500),
        ("u2", "i2", 86_500),
        ("u1", "i0", 500),
        ("u2", "i1", 86_500),
    ]
)
ITEM = 'item_id:token\tmovie_title:token_seq\ni0\tA "film"\ni1\tB\ni2\tC\ni3\tD\ni4\tE\n'


@pytest.fixture
def atomic(tmp_path: Path) -> Path:
    folder = tmp_path / "atomic" / "tiny"
    folder.mkdir(parents=True)
    (folder / "tiny.inter").write_text(INTER)
    (folder / "tiny.item").write_text(ITEM)
    return folder


def rows_of(folder: Path) -> pa.Table:
    files = sorted(folder.rglob("*.parquet"))
    return pa.concat_tables([pq.read_table(file, partitioning=None) for file in files])


def test_atomic_files_become_raw_tables(atomic: Path, tmp_path: Path) -> None:
    convert_recbole(atomic, tmp_path / "raw")
    days = sorted(path.name for path in (tmp_path / "raw" / "interactions").iterdir())
    assert days == ["day=1970-01-01", "day=1970-01-02"]
    rows = rows_of(tmp_path / "raw" / "interactions")
    assert rows.column_names == ["user_id", "item_id", "timestamp"]
    assert rows["item_id"].to_pylist() == ["i3", "i1", "i2", "i0", "i1", "i2", "i1"]
    assert rows["timestamp"].to_pylist() == [900, 500, 500, 500, 86_500, 86_500, 86_500]
    items = rows_of(tmp_path / "raw" / "items")
    assert items.to_pydict()["item_id"] == ["i0", "i1", "i2", "i3", "i4"]
    assert items.to_pydict()["title"][0] == 'A "film"'


def test_a_wheel_is_read_without_unpacking(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "any.whl", "w") as wheel:
        wheel.writestr("data/tiny/tiny.inter", INTER)
    convert_recbole(tmp_path / "any.whl", tmp_path / "raw")
    assert len(rows_of(tmp_path / "raw" / "interactions")) == 7
    assert not (tmp_path / "raw" / "items").exists()


def test_what_is_no_data_set_is_refused(atomic: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="neither a folder nor a wheel"):
        convert_recbole(tmp_path / "nothing", tmp_path / "raw")
    (atomic / "second.inter").write_text(INTER)
    with pytest.raises(DataError, match=r"has 2 \.inter files"):
        convert_recbole(atomic, tmp_path / "raw")
    (atomic / "second.inter").unlink()
    (atomic / "tiny.inter").write_text("user_id:token\titem_id:token\nu\ti\n")
    with pytest.raises(DataError, match="has no column timestamp"):
        convert_recbole(atomic, tmp_path / "raw")
    (atomic / "tiny.inter").write_text("user:token\titem_id:token\ttimestamp:float\nu\ti\t1\n")
    with pytest.raises(DataError, match="has no column user_id"):
        convert_recbole(atomic, tmp_path / "raw")


def test_equal_times_keep_the_order_of_the_rows() -> None:
    subject, time = np.array([1, 0, 1, 1, 0]), np.array([5, 9, 3, 5, 9])
    assert places_in_order(subject, time).tolist() == [1, 0, 0, 2, 1]


@pytest.mark.parametrize("order_only", [False, True])
def test_the_processed_run_has_every_event_in_its_place(
    atomic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order_only: bool
) -> None:
    monkeypatch.setattr(job, "_run", run_without_ray)
    convert_recbole(atomic, tmp_path / "raw")
    (tmp_path / "work").mkdir()
    processed = process(tmp_path / "raw", tmp_path / "work", order_only=order_only)
    events = processed.events()
    names = processed.items["item_id"].to_numpy()
    of_user = {
        subject: names[events.item_row[events.offsets[number] : events.offsets[number + 1]]].tolist()
        for number, subject in enumerate(events.subject_ids)
    }
    assert of_user.pop("after the last day") == ["i3", "i3"]  # nobody's: too few events to count
    assert of_user == {"u1": ["i1", "i2", "i0", "i3"], "u2": ["i1", "i2", "i1"]}
    assert len(Split.of(events).test) == 2
    assert (processed.item_encoded_id > 0).tolist() == [True, True, True, True, False]
    assert not events.mask.any()
    assert not events.mask_item.any()
    first = events.offsets[list(events.subject_ids).index("u1")]
    expected = [0, 1, 2, 3] if order_only else [0, 0, 0, 400]
    assert (events.timestamp[first : first + 4] - events.timestamp[first]).tolist() == expected


def test_launch_times_are_left_out(tmp_path: Path) -> None:
    def write(name: str, columns: dict[str, list[object]]) -> None:
        (tmp_path / "raw" / name).mkdir(parents=True)
        pq.write_table(pa.table(columns), tmp_path / "raw" / name / "part.parquet")

    write("interactions/day=1970-01-02", {"user_id": ["u"], "item_id": ["i"], "timestamp": [DAY_S]})
    write("items", {"item_id": ["i", "j"], "launched_at": [9 * DAY_S, 0]})
    write("users", {"user_id": ["u"], "gender": ["f"]})
    end = write_ordered(tmp_path / "raw", tmp_path / "ordered", order_only=False)
    assert end == 5 * DAY_S, "a day, two closing days, and the second after them is over"
    assert "launched_at" not in rows_of(tmp_path / "ordered" / "items").column_names
    assert rows_of(tmp_path / "ordered" / "users")["user_id"].to_pylist() == ["u"]
