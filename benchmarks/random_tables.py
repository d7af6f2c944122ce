"""Random raw tables: realistic in size, without patterns."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from contracts.clock import DAY_S, day_to_name

NUM_ITEMS: Final = 2_465
_FIRST_DAY: Final = 17_532  # 2018-01-01


def write_tables(folder: Path, *, num_events: int, num_days: int, num_users: int, heavy_share: float = 0.0) -> None:
    """Writes users, items and interactions, a file a day, the same for the same sizes.

    Args:
        folder: of the tables.
        num_events: interactions in all.
        num_days: daily partitions.
        num_users: users, each as active as the others.
        heavy_share: additional share of the interactions for the first user.
    """
    rng = np.random.default_rng(0)
    users, items = [f"user-{number}" for number in range(num_users)], [f"item-{n}" for n in range(NUM_ITEMS)]
    _write(folder / "users", {"user_id": users, "age": 20.0 + np.arange(num_users) % 50})
    categories = [f"category-{number % 200}" for number in range(NUM_ITEMS)]
    _write(folder / "items", {"item_id": items, "title": items, "category_l1": categories})
    for number, rows in enumerate(np.array_split(np.arange(num_events), num_days)):
        day, size = _FIRST_DAY + number, len(rows)
        is_heavy = rng.random(size) < heavy_share
        columns = {
            "user_id": pa.array(users).take(pa.array(np.where(is_heavy, 0, rng.integers(0, num_users, size)))),
            "item_id": pa.array(items).take(pa.array(rng.integers(0, NUM_ITEMS, size))),
            "timestamp": day * DAY_S + np.sort(rng.integers(0, DAY_S, size)),
            "device_type": ["mobile"] * size,
            "event": ["click"] * size,
        }
        _write(folder / "interactions" / f"day={day_to_name(day)}", columns)


def _write(folder: Path, columns: dict[str, object]) -> None:
    folder.mkdir(parents=True)
    pq.write_table(pa.table(columns), folder / "part-0.parquet")
