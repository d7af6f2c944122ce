"""Illegal ids and empty strings in interactions: kept out and counted, or missing; never one giant user."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from contracts.errors import SchemaError
from tests.fixtures.raw_tables import write_events, write_shop, write_table
from tests.unit.training.tables.test_texts import latin
from training.features.config import PreprocessConfig
from training.features.preprocess import preprocess
from training.features.processed import ProcessedInfo

CONFIG = PreprocessConfig(num_partitions=4)


def run(tmp_path: Path, *, users: bool = True, **changed: Any) -> ProcessedInfo:
    """Preprocesses the small shop, whose first day has one event more."""
    raw = tmp_path / "raw"
    write_shop(raw)
    if not users:
        (raw / "users" / "part-0.parquet").unlink()
        (raw / "users").rmdir()
    event = {"user_id": "u1", "item_id": "i1", "timestamp": 20_000 * 86_400 + 99, **changed}
    write_table(
        raw / "interactions" / "day=2024-10-04", {name: [value] for name, value in event.items()}, "more.parquet"
    )
    return preprocess(CONFIG, raw, tmp_path / "out", shop="tiny")


@pytest.mark.parametrize(
    ("column", "value"),
    [
        *(("user_id", "x" * 300), ("user_id", ".."), ("item_id", "a\nb"), ("item_id", ""), ("device_type", "d" * 257)),
        *(("session_id", "\x7f"), ("event", "e" * 300), ("event_id", "\x00"), ("request_id", ".")),
    ],
)
@pytest.mark.parametrize("users", [True, False])
def test_rows_with_an_illegal_id_are_kept_out_with_an_example(
    without_ray: None, tmp_path: Path, column: str, value: str, users: bool
) -> None:
    info = run(tmp_path, users=users, **{column: value})
    assert info.kept_out["illegal_id"] == 1
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    (example,) = [one for one in report["examples"] if one.startswith("illegal_id")]
    assert f"{column} {value[:60]!r}: it " in example or f"{column} {value[:60]!r}: programs" in example
    assert len(example) < 200
    assert value not in pq.read_table(tmp_path / "out" / "users.parquet")["user_id"].to_pylist()


def test_half_of_the_users_empty_is_many_sessions_and_no_giant_user(without_ray: None, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    write_shop(raw)
    rows = [
        {"at": 0.1 * number, "item_id": "i1", "user_id": "" if number % 2 else f"u{number}", "session_id": f"s{number}"}
        for number in range(8)
    ]
    write_events(raw, [{"at": 1.5, "item_id": "i2", "user_id": "", "session_id": ""}, *rows])
    (raw / "users" / "part-0.parquet").unlink()
    (raw / "users").rmdir()
    info = preprocess(CONFIG, raw, tmp_path / "out", shop="tiny")
    ids = pq.read_table(tmp_path / "out" / "users.parquet")["user_id"].to_pylist()
    assert "" not in ids
    assert {"u0", "u2", "u4", "u6"} <= set(ids)
    assert info.kept_out["no_subject"] == 1


@pytest.mark.parametrize("column", ["user_id", "session_id", "device_type"])
def test_bytes_that_are_no_utf8_leave_nothing_behind(without_ray: None, tmp_path: Path, column: str) -> None:
    write_shop(tmp_path / "raw")
    events = {"user_id": ["u1"] * 3, "item_id": ["i1"] * 3, "timestamp": [20_000 * 86_400] * 3}
    table = pa.table(events | {column: latin(["a"] * 3, 1)})
    path = write_table(tmp_path / "raw" / "interactions" / "day=2024-10-04", table, "more.parquet")
    with pytest.raises(SchemaError) as caught:
        preprocess(CONFIG, tmp_path / "raw", tmp_path / "out", shop="tiny")
    assert caught.value.message.startswith(f"{path}: column '{column}' is b'Caf\\xe9' in row 1, which is no UTF-8")
    assert [one.name for one in tmp_path.iterdir()] == ["raw"]
