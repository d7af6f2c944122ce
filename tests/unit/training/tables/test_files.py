"""Files with odd names are read; what is not read is refused or told."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from contracts import columns as c
from contracts.errors import DataError, SchemaError
from tests.fixtures.raw_tables import START, write_table
from training.tables import find_table, is_given, read_files, read_table

EVENT = {"user_id": ["u"], "item_id": ["i"], "timestamp": [START]}
ODD_NAMES = [
    "what?.parquet",
    "50%25 off #1.parquet",
    "a b.parquet",
    "s3:b.parquet",
    "[x]{1,2}*.parquet",
    "é.parquet",
    "part.pq",
    "part.parq",
    "part.PARQUET",
    "part.Pq",
    "no_ending",
    "part.parquet.gzip",
    "deep/er/day=1/part.parquet",
]


@pytest.mark.parametrize("name", ODD_NAMES)
@pytest.mark.parametrize("folder", ["raw", "raw #1?x=2%20 y"])
def test_files_of_any_name_are_read(tmp_path: Path, folder: str, name: str) -> None:
    raw_dir = tmp_path / folder
    write_table(raw_dir / "users", {"user_id": ["first"]})
    (raw_dir / "users" / name).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(write_table(tmp_path / "plain", {"user_id": ["second"]}), raw_dir / "users" / name)
    assert sorted(read_files(find_table(raw_dir, c.USERS))["user_id"].to_pylist()) == ["first", "second"]
    assert len(read_table(raw_dir / "users" / name, c.USERS)) == 1


@pytest.mark.parametrize("name", [".part.parquet", "_part.parquet", "_temporary/0/part.parquet", ".trash/part.parquet"])
def test_what_is_hidden_is_not_there(tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    good = write_table(tmp_path / "users", {"user_id": ["first"]})
    (tmp_path / "users" / name).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(good, tmp_path / "users" / name)
    assert find_table(tmp_path, c.USERS).files == (good,)
    assert caplog.messages == []


def test_a_file_that_is_not_read_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_table(tmp_path / "users", {"user_id": ["first"]})
    for name in ("notes.txt", "part-1.csv"):
        (tmp_path / "users" / name).write_text("user_id\nsecond\n")
    with caplog.at_level(logging.WARNING):
        assert len(find_table(tmp_path, c.USERS).files) == 1
    assert [message.partition("users: ")[2] for message in caplog.messages] == [
        f"2 files are no Parquet files and are not read, the first is {tmp_path}/users/notes.txt; expected names that "
        "end with .parquet, .pq, .parq"
    ]


def test_links_are_followed_and_a_loop_is_not(tmp_path: Path) -> None:
    write_table(tmp_path / "elsewhere", {"user_id": ["u"]})
    (tmp_path / "users").mkdir()
    (tmp_path / "users" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "users")
    assert [path.name for path in find_table(tmp_path, c.USERS).files] == ["part-0.parquet"]


@pytest.mark.parametrize(
    "name", ["date=2024-10-05/part.parquet", "2024-10-05/x/part.pq", "part.parquet", "day=2024-10-05"]
)
def test_interactions_outside_the_folder_of_a_day_are_refused(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "interactions"
    good = write_table(folder / "day=2024-10-04", EVENT)
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(good, folder / name)
    with pytest.raises(SchemaError, match=f"{name} is in no folder of a day; expected .*day=YYYY-MM-DD/, as day=2025"):
        find_table(tmp_path, c.INTERACTIONS)


def test_a_name_that_is_no_utf_8(tmp_path: Path) -> None:
    write_table(tmp_path / "users", {"user_id": ["u"]}).rename(tmp_path / "users" / "caf\udce9.parquet")
    with pytest.raises(SchemaError, match=r"caf\\udce9.parquet' is no UTF-8; rename it"):
        find_table(tmp_path, c.USERS)


@pytest.mark.parametrize("name", ["users.parquet", "Users/part.parquet"])
def test_a_table_that_is_no_folder_is_refused_even_if_it_may_be_missing(tmp_path: Path, name: str) -> None:
    assert not is_given(tmp_path, c.USERS)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    pq.write_table(pa.table({"user_id": ["u"]}), tmp_path / name)
    with pytest.raises(SchemaError, match=r"[uU]sers.* is not read; the table 'users' is a folder, move the files to"):
        is_given(tmp_path, c.USERS)


def test_a_file_that_changes_while_it_is_read(tmp_path: Path) -> None:
    write_table(tmp_path / "users", {"user_id": ["a", "b"]})
    raw = find_table(tmp_path, c.USERS)
    write_table(tmp_path / "users", {"user_id": ["a"]})
    with pytest.raises(DataError, match=r"part-0.parquet: 1 rows arrived, its footer promised 2; the file was changed"):
        read_files(raw)
