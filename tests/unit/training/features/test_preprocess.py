from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from contracts.clock import DAY_S
from contracts.columns import EVENTS
from contracts.errors import DataError
from contracts.presets import SHOP
from tests.fixtures.raw_tables import FIRST_DAY, START, write_shop, write_table
from training.features import online
from training.features.config import PreprocessConfig
from training.features.impressions import read_impressions
from training.features.online import final_activity, final_profiles, recent_interactions, seen_interactions
from training.features.preprocess import preprocess
from training.features.processed import Processed, open_processed

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings(r"ignore::DeprecationWarning:ray\.")]  # Ray's own settings
CONFIG = PreprocessConfig(num_partitions=4)


@pytest.fixture(scope="module")
def shop(local_ray: None, tmp_path_factory: pytest.TempPathFactory) -> Processed:
    folder = tmp_path_factory.mktemp("shop")
    write_shop(folder / "raw")
    write_in_other_types(folder / "raw" / "interactions" / "day=2024-10-05" / "part-0.parquet")
    preprocess(CONFIG, folder / "raw", folder / "processed", shop="tiny")
    return open_processed(folder / "processed")


def write_in_other_types(path: Path) -> None:
    """Legal types that are not canonical: dictionaries, large strings, nulls, short integers; and a foreign column."""
    table = pq.read_table(path, partitioning=None)
    columns = {
        "timestamp": table["timestamp"].cast(pa.int32()),
        "item_id": table["item_id"].dictionary_encode(),
        "user_id": table["user_id"].cast(pa.large_string()),
        "session_id": table["session_id"].dictionary_encode(),
        "colour": pa.array([1] * len(table)),
        "device_type": table["device_type"],
        "event": pa.nulls(len(table)),
    }
    pq.write_table(pa.table(columns), path)


def rows_of(shop: Processed) -> list[dict[str, Any]]:
    """Events as readable rows, in order of time."""
    table, tokens = shop.events(), shop.transforms.vocabularies
    names = {name: [None, *tokens[name].tokens] for name in ("user_id", "device_type", "category_l1")}
    users = table.profile.codes[:, table.profile_names.codes.index("user_id")]
    device, top, long = (table.context_codes(name) for name in ("device_type", "top_category", "top_category_long"))
    rows = [
        {
            "at": (int(table.timestamp[row]) - START) / DAY_S,
            "subject": table.subject_ids[table.subject[row]],
            "user": names["user_id"][users[table.subject[row]]],
            "item": shop.items["item_id"][int(table.item_row[row])].as_py(),
            "device": names["device_type"][device[row]],
            "top": names["category_l1"][top[row]],
            "long": names["category_l1"][long[row]],
            "day": int(table.day[row]) - FIRST_DAY,
        }
        for row in range(len(table))
    ]
    return sorted(rows, key=lambda row: row["at"])


def test_events_of_a_run_are_as_of_their_time(shop: Processed) -> None:
    keys = ("at", "subject", "user", "item", "device", "top", "long", "day")
    assert [tuple(row[key] for key in keys) for row in rows_of(shop)] == [
        (0.1, "u1", "u1", "i1", "mobile", None, None, 0),
        (0.2, "u1", "u1", "i3", "mobile", "lamps", None, 0),
        (0.3, "u1", "u1", "i3", "mobile", "tables", None, 0),
        (0.4, "u2", "u2", "i2", "desktop", None, None, 0),
        (1.5, "u1", "u1", "i1", "mobile", "tables", "tables", 1),
        (1.6, "s1", None, "i1", None, None, None, 1),
        (2.0, "u2", "u2", "i2", "desktop", "lamps", "lamps", 2),
        (3.0, "u1", "u1", "i3", "mobile", "lamps", "lamps", 3),
        (4.5, "u1", "u1", "i4", None, "tables", "tables", 4),  # tablets were not seen in training
    ]


def test_info_and_transforms(shop: Processed) -> None:
    info = shop.info
    days = (
        info.first_day,
        info.train_end_day,
        info.validation_day,
        info.validation_end_day,
        info.test_day,
        info.last_day,
    )
    assert tuple(day - FIRST_DAY for day in days) == (0, 2, 3, 3, 4, 4)
    assert info.counts == {
        "events": 9,
        "subjects": 3,
        "positives": 7,  # two events of i3 were before its launch
        "seen": 9,
        "train_positives": 5,
        "users": 3,
        "items": 4,
    }
    assert (info.shop, info.kept_out, info.has_labels) == ("tiny", {}, False)
    assert info.seen_events == EVENTS
    assert info.missing == (
        "interactions.event_id",
        "interactions.request_id",
        "interactions.label",
    )
    assert shop.schema == SHOP
    assert shop.transforms.numbers["age_norm"].fill == 35.0  # (2 · 30 + 2 · 41) / 4 = 35.5
    assert shop.transforms.vocabularies["user_id"].tokens == ("u1", "u2")


def test_items_and_their_features(shop: Processed) -> None:
    assert shop.item_encoded_id.tolist() == [1, 2, 3, 0]  # i4 has a positive on the test day only
    assert shop.item_category.tolist() == [1, 1, 2, 0]
    assert shop.launched_at.tolist() == [0, START, START + DAY_S, START + 4 * DAY_S]
    text, image = np.ones((4, 3), dtype=np.float32), np.zeros((4, 2), dtype=np.float32)
    features = shop.item_features(text, image)
    columns = features.columns
    assert columns.codes.tolist() == [[1, 1, 1], [1, 1, 2], [2, 2, 0], [0, 0, 3]]
    assert [vectors.tolist() for vectors in columns.vectors] == [text.tolist(), image.tolist()]
    deviation = np.sqrt(2 / 3) * np.log(10)
    assert columns.numbers[:, 0] == pytest.approx([-np.log(10) / deviation, np.log(10) / deviation, 0, 0], abs=1e-6)


def test_partitions_together_are_the_whole(shop: Processed) -> None:
    assert shop.num_partitions == 2
    parts = [shop.events([number]) for number in range(2)]
    whole = shop.events()
    assert len(whole) == sum(len(part) for part in parts)
    assert np.concatenate([part.item_row for part in parts]).tolist() == whole.item_row.tolist()
    assert np.concatenate([part.subject_ids for part in parts]).tolist() == whole.subject_ids.tolist()
    assert len(shop.event_ids()) == len(set(shop.event_ids())) == 9
    assert whole.subject.max() == len(whole.subject_ids) - 1
    swapped = shop.events([1, 0])
    assert swapped.subject_ids[: len(parts[1].subject_ids)].tolist() == parts[1].subject_ids.tolist()


@pytest.mark.parametrize("partitions", [[2], [-1], []])
def test_there_are_no_other_partitions(shop: Processed, partitions: list[int]) -> None:
    with pytest.raises(DataError, match=r"partitions \[.*\] of .*, expected some of 0 … 1"):
        shop.events(partitions)


def test_history_is_sliced_from_the_events(shop: Processed) -> None:
    table = shop.events()
    row = int(np.flatnonzero(table.timestamp == START + 3 * DAY_S)[0])
    history = table.history(np.array([row]), 4, 30)
    assert history.rows.tolist() == [[0, 2, 2, 0]]


def test_final_features_are_what_the_next_event_would_see(shop: Processed) -> None:
    profiles = {row["user_id"]: row for row in final_profiles(shop).to_pylist()}
    assert profiles["u3"] == {"user_id": "u3", "age": None, "gender": "M", "event_timestamp": START}
    activity = {row.pop("user_id"): row for row in final_activity(shop).to_pylist()}
    last = START + round(4.5 * DAY_S)
    assert activity == {
        "u1": {"top_category": None, "top_category_long": "tables", "event_timestamp": last},
        "u2": {"top_category": "lamps", "top_category_long": "lamps", "event_timestamp": START + 2 * DAY_S},
    }


def test_recent_interactions_keep_the_last(shop: Processed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(online, "TOP_CATEGORY_EVENTS", 1)
    tables = list(recent_interactions(shop, last=1))
    kept = sorted((row["subject_id"], row["item_id"]) for table in tables for row in table.to_pylist())
    assert kept == [("s:s1", "i1"), ("u:u1", "i4"), ("u:u2", "i2")]
    everything = [row for table in recent_interactions(shop) for row in table.to_pylist()]
    u1 = [(row["item_id"], row["category_l1"]) for row in everything if row["subject_id"] == "u:u1"]
    assert u1 == [("i1", "lamps"), ("i3", "tables"), ("i3", "tables"), ("i1", "lamps"), ("i3", "tables"), ("i4", None)]


def test_seen_interactions_are_of_the_last_days(shop: Processed) -> None:
    rows = [row for table in seen_interactions(shop, window_days=2) for row in table.to_pylist()]
    assert sorted((row["item_id"], row["day"] - FIRST_DAY) for row in rows) == [("i3", 3), ("i4", 4)]


def test_impressions_become_rows(shop: Processed, tmp_path: Path) -> None:
    shown = {
        "request_id": ["r1", "r1", "r2", "r3", "r4", "r5"],
        "user_id": ["u1", "u1", None, "u3", "u1", "u1"],
        "session_id": [None, None, "s1", None, None, None],
        "item_id": ["i1", "i4", "i3", "i1", "gone", "i1"],
        "position": [0, 1, 0, 0, 0, 0],
        "timestamp": [START + 5] * 5 + [START + 9 * DAY_S],
        "clicked": [True, False, False, True, True, True],
    }
    write_table(tmp_path / "impressions" / "day=2024-10-04", shown)
    rows = read_impressions(shop, tmp_path).to_pylist()
    subjects = shop.events().subject_ids.tolist()
    found = [(row["subject"], row["item_row"], row["position"], row["clicked"]) for row in rows]
    assert found == [
        (subjects.index("u1"), 0, 0, True),
        (subjects.index("u1"), 3, 1, False),
        (subjects.index("s1"), 2, 0, False),
        (-1, 0, 0, True),
    ]
    tombstones = {"user_id": ["u1", "u9"], "erased_at": [START, START]}
    write_table(tmp_path / "records" / "tombstones", tombstones)
    rows = read_impressions(shop, tmp_path, records_dir=tmp_path / "records").to_pylist()
    assert [row["subject"] for row in rows] == [subjects.index("s1"), -1]  # u1 was erased
    unknown = pa.table({**shown, "clicked": pa.nulls(6, pa.bool_())})
    write_table(tmp_path / "impressions" / "day=2024-10-04", unknown)
    with pytest.raises(DataError, match=r"6 impressions in .* none of them of a known item, of a user who was not"):
        read_impressions(shop, tmp_path)


def test_another_run_is_equal_and_replaces_what_was_there(without_ray: None, shop: Processed, tmp_path: Path) -> None:
    out = tmp_path / "processed"
    (out / "events").mkdir(parents=True)
    (out / "events" / "part-left-over.parquet").touch()
    assert preprocess(CONFIG, Path(shop.info.raw_dir), out, shop="tiny") == shop.info
    for part in sorted((out / "events").iterdir()):
        assert pq.read_table(part).equals(pq.read_table(shop.path / "events" / part.name))


def test_the_fingerprint_tells_config_and_content(without_ray: None, shop: Processed, tmp_path: Path) -> None:
    shutil.copytree(shop.info.raw_dir, tmp_path / "raw")
    same = preprocess(CONFIG, tmp_path / "raw", tmp_path / "out", shop="tiny")
    assert same.fingerprint == shop.info.fingerprint
    seeded = preprocess(PreprocessConfig(num_partitions=4, seed=1), tmp_path / "raw", tmp_path / "out", shop="tiny")
    write_table(tmp_path / "raw" / "users", {"user_id": ["u4"]}, "more.parquet")
    more = preprocess(CONFIG, tmp_path / "raw", tmp_path / "out", shop="tiny")
    assert len({same.fingerprint, seeded.fingerprint, more.fingerprint}) == 3


def test_a_folder_that_holds_no_run(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"no processed.json in .*; expected the folder of a processed run, run the prep"
    ):
        open_processed(tmp_path)
    (tmp_path / "processed.json").write_text('{"fingerprint": "x", "colour": "red"}')
    with pytest.raises(
        DataError, match=r"processed.json is of another version; run the preprocess job again .*unknown key 'colour'"
    ):
        open_processed(tmp_path)
