from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from contracts.clock import DAY_S
from contracts.errors import DataError
from tests.fixtures.raw_tables import START, write_events, write_shop, write_table
from tests.unit.training.features.test_preprocess import CONFIG
from training.features.config import PreprocessConfig
from training.features.preprocess import preprocess
from training.features.processed import open_processed

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings(r"ignore::DeprecationWarning:ray\.")]  # Ray's own settings


def drop_columns(raw: Path, table: str, *names: str) -> None:
    for path in (raw / table).rglob("*.parquet"):
        pq.write_table(pq.read_table(path, partitioning=None).drop_columns(list(names)), path)


def test_a_shop_with_the_required_columns_only(without_ray: None, tmp_path: Path) -> None:
    write_shop(tmp_path / "raw")
    shutil.rmtree(tmp_path / "raw" / "users")
    drop_columns(
        tmp_path / "raw",
        "items",
        *["title", "description", "category_l1", "category_l2", "gender", "price", "image_path", "launched_at"],
    )
    drop_columns(tmp_path / "raw", "interactions", "device_type")
    for path in (tmp_path / "raw" / "interactions").rglob("*.parquet"):
        table = pq.read_table(path, partitioning=None)
        pq.write_table(table.drop_columns(set(table.column_names) & {"session_id"}), path)
    info = preprocess(CONFIG, tmp_path / "raw", tmp_path / "out", shop="tiny")
    assert info.kept_out == {"no_subject": 1}
    assert info.missing[:2] == ("users.age", "users.gender")
    assert {"items.price", "interactions.device_type", "interactions.session_id"} < set(info.missing)
    shop = open_processed(tmp_path / "out")
    assert shop.transforms.vocabularies["user_id"].tokens == ("u1", "u2")
    assert shop.transforms.cardinality("category_l1") == shop.transforms.cardinality("device_type") == 1
    features = shop.item_features(np.zeros((4, 1), np.float32), np.zeros((4, 1), np.float32))
    assert not features.columns.codes.any()
    assert not features.columns.numbers.any()
    assert not shop.launched_at.any()
    profile = shop.events().profile
    assert not profile.codes[:, 1:].any()  # neither gender nor age
    assert not profile.numbers.any()


def test_bad_rows_are_counted_and_reported(without_ray: None, tmp_path: Path) -> None:
    write_shop(tmp_path / "raw")
    good = {"user_id": "u1", "item_id": "i1"}
    rows = [
        {**good, "user_id": "nobody"},
        {**good, "item_id": "nothing"},
        {**good, "item_id": "nothing"},
        {**good, "event": "like"},
        {**good, "event_id": "same", "label": 1.0},
        {**good, "event_id": "same", "label": 1.0},
    ]
    extra = tmp_path / "extra"
    write_events(extra, [{"at": 1.0, **row} for row in rows])
    file = next(extra.rglob("*.parquet"))
    shutil.copy(file, tmp_path / "raw" / "interactions" / file.parent.name / "extra.parquet")
    late = {"user_id": ["u1"], "item_id": ["i1"], "timestamp": [-3]}
    write_table(tmp_path / "raw" / "interactions" / "day=2024-10-04", late, "late.parquet")
    info = preprocess(CONFIG, tmp_path / "raw", tmp_path / "out", shop="tiny")
    assert info.kept_out == {
        "unknown_user": 1,
        "unknown_item": 2,
        "unknown_event": 1,
        "outside_window": 1,
        "duplicate_event": 1,
    }
    assert info.counts["events"] == 10
    assert info.has_labels
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["examples"][:5] == [
        "unknown_user: nobody",
        "unknown_item: nothing",
        "unknown_event: like",
        "outside_window: -3",
        f"duplicate_event: 'same' of u:u1 at {START + DAY_S}",
    ]
    label = open_processed(tmp_path / "out").events().label
    assert label is not None
    assert np.nansum(label) == 1.0
    assert np.isnan(label).sum() == 9


@pytest.mark.parametrize("num_partitions", [1, 3, 32])
def test_ids_that_number_the_rows_of_a_day_lose_nothing(
    without_ray: None, tmp_path: Path, caplog: pytest.LogCaptureFixture, num_partitions: int
) -> None:
    raw = tmp_path / "raw"
    write_shop(raw)
    shutil.rmtree(raw / "interactions")
    users, items = ("u1", "u2", "u3"), ("i1", "i2", "i3")
    rows = [
        {"at": day + 0.1 + number / 100, "user_id": users[number], "item_id": items[day % 3], "event_id": str(number)}
        for day in range(5)
        for number in range(3)
    ]
    again = {**rows[0], "at": rows[0]["at"]}
    write_events(raw, [*rows, again])
    info = preprocess(PreprocessConfig(num_partitions=num_partitions), raw, tmp_path / "out", shop="tiny")
    assert (info.counts["events"], info.kept_out) == (15, {"duplicate_event": 1})
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["reused_event_ids"] == 12
    assert len(report["examples"]) == 1 + 5, "as many as are promised, however many partitions there are"
    assert "1 interactions kept out: duplicate_event; for example '0' of u:u1 at" in caplog.text
    assert "12 interactions have an event_id that another one of their user or session has" in caplog.text


def test_empty_ids_are_missing_ones(without_ray: None, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    write_shop(raw)
    extra = tmp_path / "extra"
    write_events(extra, [{"at": 1.0 + n / 10, "user_id": "u1", "item_id": "i1", "event_id": ""} for n in (0, 0, 1)])
    file = next(extra.rglob("*.parquet"))
    shutil.copy(file, raw / "interactions" / file.parent.name / "extra.parquet")
    info = preprocess(CONFIG, raw, tmp_path / "out", shop="tiny")
    assert (info.counts["events"], info.kept_out) == (12, {})
    assert len(set(open_processed(tmp_path / "out").event_ids())) == 12


def test_a_table_that_is_there_twice_is_refused(without_ray: None, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    write_shop(raw)
    rows = [{"at": 1.0 + n / 10, "user_id": "u1", "item_id": "i1", "event_id": f"e{n}"} for n in range(9)]
    extra = tmp_path / "extra"
    write_events(extra, rows)
    file = next(extra.rglob("*.parquet"))
    for name in ("one.parquet", "two.parquet"):
        shutil.copy(file, raw / "interactions" / file.parent.name / name)
    message = (
        r"9 of 27 interactions repeat .* max_duplicate_share=0.2; for example duplicate_event: 'e0' of u:u1 at \d+"
    )
    with pytest.raises(DataError, match=message):
        preprocess(CONFIG, raw, tmp_path / "out", shop="tiny")
    assert not (tmp_path / "out").exists()
    patient = CONFIG.model_copy(update={"max_duplicate_share": 0.4})
    assert preprocess(patient, raw, tmp_path / "out", shop="tiny").kept_out == {"duplicate_event": 9}


def test_empty_days_are_reported_and_later_days_left_out(without_ray: None, tmp_path: Path) -> None:
    write_shop(tmp_path / "raw")
    shutil.rmtree(tmp_path / "raw" / "interactions" / "day=2024-10-06")
    config = PreprocessConfig(split={"train_days": 2}, num_partitions=3)
    info = preprocess(config, tmp_path / "raw", tmp_path / "out", shop="tiny")
    assert (info.counts["events"], info.last_day - info.first_day) == (7, 3)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["empty_days"] == ["2024-10-06"]
