from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from contracts.clock import DAY_S, SimulatedClock, day_to_name, name_to_day
from contracts.config import validate
from contracts.errors import ConfigError, DataError, SchemaError
from tests.fixtures.raw_tables import FIRST_DAY, START, write_shop, write_table
from training.features.config import PreprocessConfig
from training.features.preprocess import preprocess
from training.features.processed import open_processed

CONFIG = PreprocessConfig(num_partitions=4)
NOON_OF_THE_NEXT_DAY = START + 5 * DAY_S + DAY_S // 2
Change = Callable[[Path], object]


def only_later_days(raw: Path) -> None:
    for name in ("day=2024-10-04", "day=2024-10-05", "day=2024-10-06"):
        for path in (raw / "interactions" / name).iterdir():
            path.unlink()


def other_items(raw: Path) -> None:
    write_table(raw / "items", {"item_id": ["other"]})


def repeat_item(raw: Path) -> None:
    write_table(raw / "items", {"item_id": ["i1"]}, "again.parquet")


def no_items(raw: Path) -> None:
    write_table(raw / "items", {"item_id": pa.array([], pa.string())})


def text_timestamps(raw: Path) -> None:
    write_table(
        raw / "interactions" / "day=2024-10-04",
        {"user_id": ["u1"], "item_id": ["i1"], "timestamp": ["now"]},
        "x.parquet",
    )


def damaged_pages(raw: Path) -> None:
    path = raw / "interactions" / "day=2024-10-05" / "part-0.parquet"
    content = bytearray(path.read_bytes())
    content[4:60] = bytes(56)
    path.write_bytes(content)


@pytest.mark.ray
@pytest.mark.filterwarnings(r"ignore::DeprecationWarning:ray\.")  # Ray's own settings
def test_a_damaged_file_that_only_a_task_finds(local_ray: None, tmp_path: Path) -> None:
    write_shop(tmp_path / "raw")
    damaged_pages(tmp_path / "raw")
    with pytest.raises(DataError, match=r"^/.*day=2024-10-05/part-0.parquet cannot be read: "):
        preprocess(CONFIG, tmp_path / "raw", tmp_path / "out", shop="tiny")
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]


def no_rows(raw: Path) -> None:
    for path in (raw / "interactions").rglob("*.parquet"):
        pq.write_table(pq.read_table(path, partitioning=None).slice(0, 0), path)


def one_day(raw: Path) -> None:
    for path in sorted((raw / "interactions").iterdir())[1:]:
        shutil.rmtree(path)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            only_later_days,
            DataError,
            "empty training window: no positive between 2024-10-04 and 2024-10-06; no interaction was kept out",
        ),
        (other_items, DataError, "empty training window: .*kept out: .*9 unknown_item; for example unknown_item: i1"),
        (repeat_item, DataError, "again.parquet|part-0.parquet: item_id 'i1' occurs 2 times in items"),
        (no_rows, DataError, "no interactions between 2024-10-04 and 2024-10-08"),
        (no_items, DataError, "the items table in .* has no rows; expected the shop's catalogue"),
        (text_timestamps, SchemaError, "x.parquet: column 'timestamp' is string, expected int64"),
        (one_day, ConfigError, "empty training window: the tables cover 2024-10-04 to 2024-10-04"),
        (lambda raw: shutil.rmtree(raw / "interactions"), DataError, "no folder .*interactions"),
    ],
)
def test_what_cannot_be_used_is_refused_and_nothing_is_written(
    without_ray: None, tmp_path: Path, change: Change, error: type[Exception], message: str
) -> None:
    write_shop(tmp_path / "raw")
    change(tmp_path / "raw")
    with pytest.raises(error, match=message):
        preprocess(CONFIG, tmp_path / "raw", tmp_path / "out", shop="tiny")
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]


def test_a_failed_run_keeps_the_old_result(without_ray: None, tmp_path: Path) -> None:
    write_shop(tmp_path / "raw")
    info = preprocess(CONFIG, tmp_path / "raw", tmp_path / "out", shop="tiny")
    other_items(tmp_path / "raw")
    with pytest.raises(DataError, match="empty training window"):
        preprocess(CONFIG, tmp_path / "raw", tmp_path / "out", shop="tiny")
    assert open_processed(tmp_path / "out").info == info


def test_days_without_a_single_file_in_the_window(without_ray: None, tmp_path: Path) -> None:
    write_shop(tmp_path / "raw")
    for path in sorted((tmp_path / "raw" / "interactions").iterdir())[:4]:
        (path / "part-0.parquet").unlink()
    with pytest.raises(DataError, match="no interactions between 2024-10-04 and 2024-10-06"):
        preprocess(PreprocessConfig(split={"train_days": 1}), tmp_path / "raw", tmp_path / "out", shop="tiny")


def day_folder(raw: Path, day: str, **columns: list[object]) -> None:
    write_table(
        raw / "interactions" / f"day={day}", {"user_id": ["u1"], "item_id": ["i1"], "timestamp": [0], **columns}
    )


@pytest.mark.parametrize(
    ("day", "message"),
    [
        (
            "2099-01-01",
            "interactions/day=2099-01-01 is in the future: today is 2024-10-09 by the clock and timezone UTC",
        ),
        ("2024-10-10", "interactions/day=2024-10-10 is in the future: .* Remove the folder, or correct"),
        ("1970-01-01", "interactions/day=1970-01-01 is before preprocess.earliest_day 2000-01-01. Remove the folder"),
        ("1960-05-05", "interactions/day=1960-05-05 is before preprocess.earliest_day 2000-01-01"),
    ],
)
def test_days_that_cannot_be_are_refused_by_name(without_ray: None, tmp_path: Path, day: str, message: str) -> None:
    write_shop(tmp_path / "raw")
    day_folder(tmp_path / "raw", day)
    with pytest.raises(DataError, match=message):
        preprocess(CONFIG, tmp_path / "raw", tmp_path / "out", shop="tiny", clock=SimulatedClock(NOON_OF_THE_NEXT_DAY))
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]


def test_an_old_shop_says_so(without_ray: None, tmp_path: Path) -> None:
    write_shop(tmp_path / "raw")
    day_folder(tmp_path / "raw", "1999-12-31", timestamp=[name_to_day("1999-12-31") * DAY_S])
    config = validate(PreprocessConfig, {"earliest_day": date(1999, 12, 31)}, source="test")
    assert preprocess(config, tmp_path / "raw", tmp_path / "out", shop="tiny").first_day == name_to_day("1999-12-31")


def test_today_is_left_out_until_it_is_over(without_ray: None, tmp_path: Path) -> None:
    """An export that ran at noon of 2024-10-08, the last day of the tables."""
    write_shop(tmp_path / "raw")
    noon, tomorrow = SimulatedClock(NOON_OF_THE_NEXT_DAY - DAY_S), SimulatedClock(NOON_OF_THE_NEXT_DAY)
    before = preprocess(CONFIG, tmp_path / "raw", tmp_path / "out", shop="tiny", clock=noon)
    assert (before.last_day, before.counts["events"]) == (FIRST_DAY + 3, 8)
    after = preprocess(CONFIG, tmp_path / "raw", tmp_path / "out", shop="tiny", clock=tomorrow)
    assert (after.last_day, after.counts["events"]) == (FIRST_DAY + 4, 9)
    for day in range(FIRST_DAY, FIRST_DAY + 4):
        shutil.rmtree(tmp_path / "raw" / "interactions" / f"day={day_to_name(day)}")
    with pytest.raises(DataError, match="no day but today, 2024-10-08, which is not over; add earlier days"):
        preprocess(CONFIG, tmp_path / "raw", tmp_path / "out", shop="tiny", clock=noon)


def of_day(raw: Path, day: int, keep: int) -> None:
    """Keeps the first rows of a day after the first."""
    path = raw / "interactions" / f"day={day_to_name(FIRST_DAY + day)}" / "part-0.parquet"
    pq.write_table(pq.ParquetFile(path).read().slice(0, keep), path)


def test_a_test_day_without_positives_is_refused_by_name(without_ray: None, tmp_path: Path) -> None:
    write_shop(tmp_path / "raw")
    of_day(tmp_path / "raw", 4, keep=0)
    with pytest.raises(DataError, match="no positive on the test day 2024-10-08, so nothing could be judged; export"):
        preprocess(CONFIG, tmp_path / "raw", tmp_path / "out", shop="tiny")
    write_shop(tmp_path / "views")  # all events are views
    config = PreprocessConfig(positive_events=("purchase",))
    with pytest.raises(DataError, match="empty training window: no positive"):
        preprocess(config, tmp_path / "views", tmp_path / "out", shop="tiny")


def test_a_validation_day_without_positives_is_told(
    without_ray: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_shop(tmp_path / "raw")
    of_day(tmp_path / "raw", 3, keep=0)
    preprocess(CONFIG, tmp_path / "raw", tmp_path / "out", shop="tiny")
    assert "no positive on the validation day 2024-10-07: the models are trained without figures" in caplog.messages


def test_a_nearly_empty_test_day_is_told(without_ray: None, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_shop(tmp_path / "raw")
    row = {"user_id": "u2", "item_id": "i2"}
    for day in range(3):
        stamps = [START + day * DAY_S + second for second in range(40)]
        columns = {name: [value] * 40 for name, value in row.items()}
        day_folder(tmp_path / "raw", day_to_name(FIRST_DAY + day), **columns, timestamp=stamps)
    preprocess(CONFIG, tmp_path / "raw", tmp_path / "out", shop="tiny")
    told = "the test day 2024-10-08 has 1 positives where 40 are usual: is its export complete?"
    assert any(message.startswith(told) for message in caplog.messages)
