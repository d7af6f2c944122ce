from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from contracts.clock import DAY_S
from contracts.config import validate
from contracts.errors import ConfigError
from tests.fixtures.raw_tables import FIRST_DAY, START
from tests.unit.training.features.conftest import Encode
from training.features.config import PreprocessConfig
from training.features.encode import VERDICTS
from training.features.masking import MASK_ALL, MASK_NONE, MASK_USER, MASK_USER_ID, draw_masks
from training.features.partition import PartitionSpec, finish_partition

Spec = Callable[..., PartitionSpec]


def finish(rows: pa.Table, spec: PartitionSpec) -> tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]:
    """Statistics, subjects and events of a partition."""
    statistics = finish_partition(rows, spec).to_pylist()[0]
    subjects, events = (pq.read_table(spec.out_dir / name).to_pylist() for name in ("subjects", "events"))
    return statistics, subjects, events


def test_subjects_are_whole_and_events_in_order_of_time_and_id(encode_rows: Encode, spec: Spec) -> None:
    rows = [
        {"session_id": "s2", "item_id": "i1", "event_id": "a"},
        {"user_id": "u2", "item_id": "i1", "event_id": "b", "timestamp": START + 9},
        {"session_id": "s1", "item_id": "i1", "event_id": "c"},
        {"user_id": "u2", "item_id": "i2", "event_id": "e"},
        {"user_id": "u2", "item_id": "i3", "event_id": "d"},
        {"user_id": "u1", "item_id": "i1", "event_id": "f"},
    ]
    _, subjects, events = finish(encode_rows(rows), spec())
    assert [(row["subject_id"], row["user_row"], row["age"], row["gender"]) for row in subjects] == [
        ("u1", 0, 30.0, "F"),
        ("u2", 1, None, None),
        ("s1", -1, None, None),
        ("s2", -1, None, None),
    ]
    assert [row["num_events"] for row in subjects] == [1, 3, 1, 1]
    assert [row["event_id"] for row in events] == ["f", "d", "e", "b", "c", "a"]


def test_top_categories_are_those_before_the_event(encode_rows: Encode, spec: Spec) -> None:
    stamps = (0, 60, 120, DAY_S + 200)
    rows = [
        {"user_id": "u1", "item_id": item, "timestamp": START + stamp, "event_id": str(stamp)}
        for stamp, item in zip(stamps, ("i3", "i1", "i2", "i3"), strict=True)
    ]
    _, _, events = finish(encode_rows(rows), spec())
    assert [row["top_category"] for row in events] == [0, 2, 1, 1]
    assert [row["top_category_long"] for row in events] == [0, 0, 0, 1]
    assert [row["day"] for row in events] == [FIRST_DAY, FIRST_DAY, FIRST_DAY, FIRST_DAY + 1]


def test_days_are_shop_local(encode_rows: Encode, spec: Spec) -> None:
    rows = [{"user_id": "u1", "item_id": "i1", "timestamp": START + 23 * 3_600}]
    _, _, events = finish(encode_rows(rows), spec(timezone="Europe/Berlin"))
    assert events[0]["day"] == FIRST_DAY + 1


def test_an_event_that_was_delivered_twice_counts_once(encode_rows: Encode, spec: Spec) -> None:
    row = {"user_id": "u1", "item_id": "i1", "event_id": "a"}
    statistics, subjects, events = finish(encode_rows([row, {**row, "event_id": "b"}, row, row]), spec())
    assert [row["event_id"] for row in events] == ["a", "b"]
    assert subjects[0]["num_events"] == 2
    assert (statistics["num_events"], statistics["num_duplicate_events"]) == (2, 2)
    assert statistics["examples"] == [f"duplicate_event: 'a' of u:u1 at {START}"] * 2


def test_an_id_belongs_to_its_subject_and_another_item_or_time_is_another_event(
    encode_rows: Encode, spec: Spec
) -> None:
    row = {"user_id": "u1", "item_id": "i1", "event_id": "7", "timestamp": START}
    others = [
        {**row, "user_id": "u2"},
        {"session_id": "u1", **{name: row[name] for name in ("item_id", "event_id", "timestamp")}},
        {**row, "item_id": "i2"},
        {**row, "timestamp": START + DAY_S},
    ]
    statistics, _, events = finish(encode_rows([row, *others, row]), spec())
    assert (len(events), statistics["num_duplicate_events"], statistics["num_reused_event_ids"]) == (5, 1, 2)
    assert statistics["examples"] == [
        f"duplicate_event: '7' of u:u1 at {START}",
        f"reused_event_id: '7' of u:u1 at {START}",
        f"reused_event_id: '7' of u:u1 at {START + DAY_S}",
    ]


def test_missing_event_ids_are_stable_and_differ_for_equal_rows(encode_rows: Encode, spec: Spec) -> None:
    equal = [{"user_id": "u1", "item_id": "i1", "device_type": device} for device in ("tv", "tv", "app")]
    other = [{"user_id": "u1", "item_id": "i2"}, {"session_id": "u1", "item_id": "i1"}]
    given = {"user_id": "u1", "item_id": "i1", "event_id": "given"}
    _, _, events = finish(encode_rows([*equal, *other, given]), spec())
    ids = {row["event_id"]: row["device_type"] for row in events}
    assert len(ids) == 6
    assert "given" in ids
    _, _, again = finish(encode_rows([given, *other, *equal[::-1]]), spec())
    assert {row["event_id"]: row["device_type"] for row in again} == ids


def test_events_are_marked_by_config(encode_rows: Encode, spec: Spec) -> None:
    rows = [{"user_id": "u1", "item_id": "i1", "event": event, "event_id": event} for event in ("cart", "view")]
    statistics, _, events = finish(encode_rows(rows), spec(positive_events=("cart", "purchase"), seen_events=("view",)))
    assert [(row["positive"], row["seen"]) for row in events] == [(True, False), (False, True)]
    assert (statistics["num_positives"], statistics["num_seen"]) == (1, 1)


def test_statistics_are_of_training_positives(encode_rows: Encode, spec: Spec) -> None:
    rows = [
        {"user_id": "u3", "item_id": "i3", "device_type": "tv", "timestamp": START + 3 * DAY_S},
        {"user_id": "u1", "item_id": "i2", "device_type": "app", "event": "view"},
        {"user_id": "u2", "item_id": "i1", "device_type": "app", "event": "cart", "timestamp": START + 3 * DAY_S - 1},
        {"user_id": "u2", "item_id": "i1", "event": "cart"},
        {"session_id": "s", "item_id": "i3", "event": "cart"},
    ]
    statistics, _, _ = finish(encode_rows(rows), spec(positive_events=("cart",)))
    assert statistics["train_user_rows"] == [1]
    assert statistics["train_user_events"] == [2]
    assert statistics["known_item_rows"] == [0, 2]  # of the validation day, too
    assert statistics["train_context"] == [
        {"column": "device_type", "value": "app", "number": None, "weight": 1.0}  # the other positive told none
    ]
    assert statistics["events_of_day"] == [3, 0, 1, 1, 0]
    assert statistics["num_subjects"] == 4


def test_kept_out_rows_are_counted_with_examples(encode_rows: Encode, spec: Spec) -> None:
    rows = [{"user_id": f"x{n}", "item_id": "i1"} for n in (3, 1, 2, 1, 4, 5, 6)]
    rows += [{"item_id": "i1"}, {"user_id": "u1", "item_id": "gone"}]
    statistics = finish_partition(encode_rows(rows), spec()).to_pylist()[0]
    told = dict(zip(VERDICTS, statistics["verdicts"], strict=True))
    assert {verdict: count for verdict, count in told.items() if count} == {
        "no_subject": 1,
        "unknown_user": 7,
        "unknown_item": 1,
    }
    assert statistics["examples"] == [*(f"unknown_user: x{n}" for n in range(1, 6)), "unknown_item: gone"]
    assert statistics["num_events"] == 0


def test_labels_are_carried_and_null_becomes_nan(encode_rows: Encode, spec: Spec) -> None:
    rows = [{"user_id": "u1", "item_id": "i1", "label": 0.25, "event_id": "a"}, {"user_id": "u1", "item_id": "i1"}]
    _, _, events = finish(encode_rows(rows), spec())
    assert {row["label"] for row in events} == {0.25, None}


def test_masks_have_their_rates_and_exclude_each_other() -> None:
    config = PreprocessConfig(masks={"user_rate": 0.2, "anonymous_share": 0.25, "user_id_rate": 0.1, "item_rate": 0.3})
    level, device, item = draw_masks(200_000, config, np.random.default_rng(0))
    shares = np.bincount(level, minlength=4) / len(level)
    assert shares[[MASK_ALL, MASK_USER, MASK_USER_ID, MASK_NONE]] == pytest.approx([0.05, 0.15, 0.1, 0.7], abs=0.004)
    assert [device.mean(), item.mean()] == pytest.approx([0.05, 0.3], abs=0.004)
    assert np.mean(device & item) == pytest.approx(0.015, abs=0.002)


def test_masks_may_be_off_or_on_for_every_row() -> None:
    off = {"user_rate": 0, "user_id_rate": 0, "device_rate": 0, "item_rate": 0}
    assert not any(mask.any() for mask in draw_masks(1000, PreprocessConfig(masks=off), np.random.default_rng(0)))
    everyone = PreprocessConfig(masks={"user_rate": 1, "anonymous_share": 1, "user_id_rate": 0})
    assert (draw_masks(1000, everyone, np.random.default_rng(0))[0] == MASK_ALL).all()


def test_masks_follow_the_seed(encode_rows: Encode, spec: Spec, tmp_path: Path) -> None:
    rows = encode_rows([{"user_id": "u1", "item_id": "i1"}] * 200)
    draws = [[row["mask"] for row in finish(rows, spec(seed=seed))[2]] for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]


def test_impossible_rates_and_unknown_tables_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"user_rate 0.6 and user_id_rate 0.5 exclude each other"):
        validate(PreprocessConfig, {"masks": {"user_rate": 0.6, "user_id_rate": 0.5}}, source="test")
    with pytest.raises(ConfigError, match="unknown table 'orders'; legal: users, items, interactions, impressions"):
        validate(PreprocessConfig, {"columns": {"orders": {}}}, source="test")
