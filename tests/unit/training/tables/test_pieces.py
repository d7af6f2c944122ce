"""How tables are cut for the tasks that read them: work follows the rows, not the number of files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from contracts import columns as c
from contracts.clock import day_to_name
from tests.fixtures.raw_tables import FIRST_DAY, write_table
from training.tables import RawTable, find_table, pieces, read_files, read_piece


def table_of(row_groups: list[list[int]]) -> RawTable:
    groups = {Path(f"{number}.parquet"): tuple(rows) for number, rows in enumerate(row_groups)}
    return RawTable(c.INTERACTIONS, tuple(groups), {}, groups)


@pytest.mark.parametrize(("num_files", "at_most"), [(14, 3), (2_277, 4), (100_000, 62)])
def test_a_million_rows_are_few_pieces_in_any_number_of_files(num_files: int, at_most: int) -> None:
    per_file = -(-1_000_000 // num_files)
    assert len(pieces(table_of([[per_file]] * num_files))) <= at_most


def test_a_large_file_is_cut_between_its_row_groups() -> None:
    raw = table_of([[400_000] * 5])
    cut = [[(part.row_groups, part.first_row) for part in piece] for piece in pieces(raw)]
    assert cut == [
        [((0,), 0), ((1,), 400_000)],
        [((2,), 800_000), ((3,), 1_200_000)],
        [((4,), 1_600_000)],
    ]


@pytest.mark.parametrize("seed", range(10))
def test_every_row_group_is_in_one_piece(seed: int) -> None:
    rng = np.random.default_rng(seed)
    raw = table_of([rng.integers(0, 700_000, rng.integers(0, 5)).tolist() for _ in range(30)])
    parts = [part for piece in pieces(raw) for part in piece]
    assert sum(part.num_rows for part in parts) == raw.num_rows
    found = [(part.path, number) for part in parts for number in part.row_groups]
    assert found == [(path, number) for path in raw.files for number in range(len(raw.row_groups[path]))]


def test_pieces_hold_what_the_files_hold(tmp_path: Path) -> None:
    for day in range(5):
        rows = {"user_id": ["u"] * 7, "item_id": ["i"] * 7, "timestamp": range(day * 7, day * 7 + 7)}
        path = write_table(tmp_path / "interactions" / f"day={day_to_name(FIRST_DAY + day)}", rows)
        pq.write_table(pq.ParquetFile(path).read(), path, row_group_size=3)
    raw = find_table(tmp_path, c.INTERACTIONS)
    (piece,) = pieces(raw)
    (rows,) = read_piece(raw, piece)
    assert rows.equals(read_files(raw))
    assert {column.num_chunks for column in rows.columns} == {1}, "every operation on it would run file by file"
    assert rows["timestamp"].to_pylist() == list(range(35))
