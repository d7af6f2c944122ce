"""What many small files cost: each is opened twice, and nothing else follows their number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from contracts.clock import DAY_S, day_to_name
from tests.fixtures.raw_tables import FIRST_DAY, START, write_shop, write_table
from training.features import encode as encoding
from training.features.config import PreprocessConfig
from training.features.preprocess import preprocess


def test_preprocessing_opens_a_file_for_its_footer_and_for_its_rows_only(
    without_ray: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_shop(tmp_path / "raw")
    for day in range(300):
        rows = {"user_id": ["u1"], "item_id": ["i1"], "timestamp": [START + day * DAY_S]}
        write_table(tmp_path / "raw" / "interactions" / f"day={day_to_name(FIRST_DAY + day)}", rows, "more.parquet")
    opened: list[Any] = []
    encoded: list[int] = []

    class Counting(pq.ParquetFile):  # type: ignore[misc]  # pyarrow has no types
        def __init__(self, source: Any, **settings: Any) -> None:
            opened.append(source)
            super().__init__(source, **settings)

    partitions_of = encoding._session_partitions
    monkeypatch.setattr(pq, "ParquetFile", Counting)
    monkeypatch.setattr(encoding, "_session_partitions", lambda *args: (encoded.append(1), partitions_of(*args))[1])
    preprocess(PreprocessConfig(), tmp_path / "raw", tmp_path / "out", shop="tiny")
    of_interactions = [path for path in opened if "interactions" in str(path)]
    assert len(of_interactions) == 2 * 305
    assert len(encoded) == 1
