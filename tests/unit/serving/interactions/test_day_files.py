from __future__ import annotations

import numpy as np
import pyarrow as pa

from serving.interactions.day_files import by_day


def test_rows_of_a_day_keep_their_order() -> None:
    rows = pa.table({"name": ["a", "b", "c"]})
    found = [(folder, some["name"].to_pylist()) for folder, some in by_day(rows, np.array([20_001, 20_000, 20_001]))]
    assert found == [("day=2024-10-04", ["b"]), ("day=2024-10-05", ["a", "c"])]
    assert list(by_day(rows.slice(0, 0), np.array([], dtype=np.int64))) == []
