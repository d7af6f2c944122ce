from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq

from benchmarks.random_tables import write_tables


def test_the_heavy_user_has_the_share_that_was_asked_for(tmp_path: Path) -> None:
    write_tables(tmp_path / "raw", num_events=9_000, num_days=7, num_users=2_000, heavy_share=2 / 3)
    folders = sorted((tmp_path / "raw" / "interactions").iterdir())
    assert len(folders) == 7
    users = [user for folder in folders for user in pq.read_table(folder / "part-0.parquet")["user_id"].to_pylist()]
    assert len(users) == 9_000
    assert abs(users.count("user-0") / len(users) - 2 / 3) < 0.02
