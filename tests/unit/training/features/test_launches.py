"""Events before the launch of their item, and launches that can hardly be meant."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from contracts.clock import DAY_S
from contracts.errors import DataError, SchemaError
from tests.fixtures.raw_tables import START, write_shop
from training.features.config import PreprocessConfig
from training.features.preprocess import preprocess
from training.features.processed import Processed, open_processed

TRUE = [None, START, START + DAY_S, START + 4 * DAY_S]


def run(folder: Path, launched: list[int | None], **config: object) -> Processed:
    """The tiny shop with other launches of i1 to i4."""
    write_shop(folder / "raw")
    path = folder / "raw" / "items" / "part-0.parquet"
    items = pq.read_table(path)
    column = items.schema.get_field_index("launched_at")
    pq.write_table(items.set_column(column, "launched_at", pa.array(launched, pa.int64())), path)
    preprocess(PreprocessConfig.model_validate(config), folder / "raw", folder / "out", shop="tiny")
    return open_processed(folder / "out")


def test_events_before_their_items_launch_are_history_and_no_positives(
    without_ray: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """i3 is launched a day after the first day, on which u1 had it twice."""
    processed = run(tmp_path, TRUE)
    events = processed.events()
    early = events.timestamp < processed.launched_at[events.item_row]
    assert early.sum() == 2
    np.testing.assert_array_equal(events.positive, ~early)
    assert events.seen.all()
    assert len(events) == processed.info.counts["events"] == 9
    assert processed.info.counts["positives"] == 7
    assert any(message.startswith("2 events came before the launch of their item") for message in caplog.messages)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    told = f"before_launch: item 'i3' at {START + round(0.2 * DAY_S)}, launched_at {START + DAY_S}"
    assert told in report["examples"]


def test_the_launch_moves_to_the_first_event(without_ray: None, tmp_path: Path) -> None:
    processed = run(tmp_path, TRUE, before_launch="move_launch")
    first = START + round(0.2 * DAY_S)
    assert processed.items["launched_at"].to_pylist() == [None, START, first, START + 4 * DAY_S]
    assert processed.events().positive.all()


def test_launches_of_another_unit_are_refused_with_the_likely_one(without_ray: None, tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match=r"column 'launched_at' is .* divide by 1,000 if these are milliseconds"):
        run(tmp_path, [START * 1_000] * 4)


def test_launches_after_all_sales_are_told(without_ray: None, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run(tmp_path, [None, START + 90 * DAY_S, START + 90 * DAY_S, START + 91 * DAY_S], before_launch="move_launch")
    assert not caplog.messages, "every item has an event, to which its launch moves"
    with pytest.raises(DataError, match=r"no positive on the test day 2024-10-08.*3 of 4 items are launched after the"):
        run(tmp_path, [None, START + 90 * DAY_S, START + 90 * DAY_S, START + 91 * DAY_S])


def test_labels_before_the_launch_are_left_out(without_ray: None, tmp_path: Path) -> None:
    write: Callable[..., None] = pq.write_table
    write_shop(tmp_path / "raw")
    for path in (tmp_path / "raw" / "interactions").rglob("*.parquet"):
        table = pq.ParquetFile(path).read()
        write(table.append_column("label", pa.array([1.0] * len(table))), path)
    preprocess(PreprocessConfig(), tmp_path / "raw", tmp_path / "out", shop="tiny")
    events = open_processed(tmp_path / "out").events()
    assert events.label is not None
    assert np.isnan(events.label).sum() == 2
