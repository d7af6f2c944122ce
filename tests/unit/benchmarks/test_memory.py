from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from benchmarks.memory import NUM_DAYS, write_shop


def test_the_heavy_user_has_the_share_that_was_asked_for(tmp_path: Path) -> None:
    write_shop(tmp_path / "raw", 9_000, 2 / 3, np.random.default_rng(0))
    folders = sorted((tmp_path / "raw" / "interactions").iterdir())
    assert len(folders) == NUM_DAYS
    users = [user for folder in folders for user in pq.read_table(folder / "part-0.parquet")["user_id"].to_pylist()]
    assert len(users) == 9_000
    assert abs(users.count("user-0") / len(users) - 2 / 3) < 0.02
