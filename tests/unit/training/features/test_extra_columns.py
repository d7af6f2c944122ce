"""Columns of the shop's own, from raw tables to the processed run and the models' inputs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from contracts import columns as c
from contracts import records as r
from contracts.columns import Column, Kind
from contracts.encoders import hashed
from contracts.errors import SchemaError
from contracts.feature import Encoding, Feature, FeatureKind, Side
from contracts.item_values import Categories
from contracts.presets import SHOP
from contracts.schema import FeatureSchema
from tests.fixtures.raw_tables import FIRST_DAY, START, write_shop, write_table
from tests.unit.training.features.conftest import Encode
from tests.unit.training.features.test_partition import Spec, finish
from training.features.config import PreprocessConfig
from training.features.encode import VERDICTS
from training.features.impressions import read_impressions
from training.features.online import final_activity
from training.features.preprocess import preprocess
from training.features.processed import Processed, open_processed

CONFIG = PreprocessConfig(num_partitions=2)
COUNTRY = Column("country", Kind.CATEGORY, declared=True)
WORDS = Column("words", Kind.STRINGS, declared=True)
PLACE = Column("place", Kind.VECTOR, length=2, declared=True)
FEATURES = (
    Feature(name="vip", side="query", kind="categorical"),
    Feature(name="brand", side="item", kind="categorical", filter=True),
    Feature(name="tags", side="item", kind="categories", encode=Encoding(min_count=2), filter=True, answer=True),
    Feature(name="style", side="item", kind="vector", length=2),
    Feature(name="weight", side="item", kind="numeric", encode=Encoding(standardise=False), answer=True),
    Feature(name="country", side="query", kind="categorical", source="context"),
    Feature(name="words", side="query", kind="categories", source="context", encode=Encoding(max_length=2)),
    Feature(name="place", side="query", kind="vector", source="context", length=2),
)
SCHEMA = FeatureSchema(SHOP.features + FEATURES)
IMPRESSIONS = (COUNTRY, PLACE)


def context(name: str, kind: str = "categorical", **values: Any) -> FeatureSchema:
    """The shop with one more column of the context."""
    return FeatureSchema((*SHOP.features, Feature(name=name, side="query", kind=kind, source="context", **values)))


def add(folder: Path, columns: Mapping[str, Any], name: str = "part-0.parquet") -> None:
    """Adds columns to a file."""
    table = pq.read_table(folder / name, partitioning=None)
    for column, values in columns.items():
        table = table.append_column(column, pa.array(values) if isinstance(values, list) else values)
    pq.write_table(table, folder / name)


def write_raw(raw_dir: Path) -> Path:
    write_shop(raw_dir)
    add(raw_dir / "users", {"vip": [True, None, False]})
    items = {
        "brand": [7, None, 7, 9],
        "tags": [["new", "", "new"], [], None, ["sale", "new"]],
        "style": pa.array([[1, 2], None, [3, 4], [5, 6]], pa.large_list(pa.int32())),
        "weight": [1, 2, None, 4],
    }
    add(raw_dir / "items", items)
    first = {"country": ["DE", "", "FR", "DE"], "words": [["lamp"], None, [], ["b", "a", "b"]]}
    add(raw_dir / "interactions" / "day=2024-10-04", first | {"place": [[0.5, 1.5], None, [2.0, 3.0], None]})
    add(raw_dir / "interactions" / "day=2024-10-05", {"country": pa.array(["AT", "CH"]).dictionary_encode()})
    return raw_dir


def run(raw_dir: Path, schema: FeatureSchema = SHOP, **options: Any) -> Processed:
    folder = raw_dir.parent / "processed"
    preprocess(CONFIG, raw_dir, folder, shop="tiny", schema=schema, **options)
    return open_processed(folder)


def events_of(shop: Processed) -> dict[float, tuple[Any, ...]]:
    """Country, words and place by the time of the event in days after the first."""
    rows = pq.read_table(shop.path / "events", partitioning=None).to_pylist()
    return {
        round((row["timestamp"] - START) / 86_400, 1): tuple(row[name] for name in ("country", "words", "place"))
        for row in rows
    }


EVENTS = {
    0.1: ("DE", ["lamp"], [0.5, 1.5]),
    0.2: (None, None, None),
    0.3: ("FR", [], [2.0, 3.0]),
    0.4: ("DE", ["b", "a"], None),
    1.5: ("AT", None, None),
    1.6: ("CH", None, None),
    2.0: (None, None, None),
    3.0: (None, None, None),
    4.5: (None, None, None),
}


@pytest.mark.ray
@pytest.mark.filterwarnings(r"ignore::DeprecationWarning:ray\.")
def test_they_arrive_in_the_run(
    local_ray: None, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.tables.read._ROWS_AT_ONCE", 1)  # a block of every file
    shop = run(write_raw(tmp_path / "raw"), SCHEMA)
    items, users = shop.items, pq.read_table(shop.path / "users.parquet")
    assert items["brand"].to_pylist() == ["7", None, "7", "9"]
    assert items["tags"].to_pylist() == [["new"], [], None, ["sale", "new"]]
    assert items["style"].to_pylist() == [[1.0, 2.0], None, [3.0, 4.0], [5.0, 6.0]]
    assert items["weight"].to_pylist() == [1.0, 2.0, None, 4.0]
    assert users["vip"].to_pylist() == ["true", None, "false"]
    assert events_of(shop) == EVENTS
    part = pq.read_schema(shop.path / "events" / "part-00000.parquet")
    assert part.names[-3:] == ["country", "words", "place"]
    assert [pa.types.is_dictionary(part.field(name).type) for name in ("device_type", "country")] == [True, True]
    assert len(shop.events()) == 9
    told = [record.getMessage() for record in caplog.records if "have no column" in record.getMessage()]
    assert [line.split(", the first")[0] for line in told] == [
        "interactions.country: 3 of 5 files have no column 'country'",
        "interactions.words: 4 of 5 files have no column 'words'",
        "interactions.place: 4 of 5 files have no column 'place'",
    ]


def test_they_become_model_inputs(without_ray: None, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    shop = run(write_raw(tmp_path / "raw"), SCHEMA)
    vocabularies = shop.transforms.vocabularies
    tokens = {name: vocabularies[name].tokens for name in ("vip", "brand", "tags", "country", "words")}
    assert tokens == {
        "vip": ("true",),  # of those with a training positive: u1 is one, u2 told nothing
        "brand": ("7", "9"),
        "tags": ("new",),  # each item's once: sale occurs once
        "country": ("AT", "CH", "DE"),  # FR is of an event before the launch of its item
        "words": ("a", "b", "lamp"),
    }
    told = "1 occurrences of categories of tags got no id of their own: they are out of vocabulary"
    assert told in caplog.messages
    report = json.loads((shop.path / "report.json").read_text())
    assert (report["out_of_vocabulary"], told in report["warnings"]) == ({"tags": 1}, True)

    vectors = np.zeros((4, 1), dtype=np.float32)
    items = shop.item_features(vectors, vectors).columns
    assert items.codes[:, -1].tolist() == [1, 0, 1, 2]
    assert items.numbers[:, -1] == pytest.approx([1, 2, 7 / 3, 4])  # the mean stands in
    assert items.lists[0][:, :2].tolist() == [[1, -1], [-1, -1], [-1, -1], [0, 1]]
    assert items.vectors[-1].tolist() == [[1, 2], [0, 0], [3, 4], [5, 6]]
    values = shop.item_values()
    tags = values["tags"]
    assert isinstance(tags, Categories)
    assert [tags.of_item(row) for row in range(4)] == [["new"], [], [], ["sale", "new"]]
    np.testing.assert_array_equal(values["weight"], [1, 2, np.nan, 4])

    events = shop.events()
    queries = events.query_features(np.arange(9), shop.transforms, length=2, history_days=30, masked=False).columns
    layout = SCHEMA.layout(Side.QUERY)
    days = ((events.timestamp - START) / 86_400).round(1)
    country = dict(zip(days, queries.codes[:, layout.codes.index("country")], strict=True))
    assert [country[at] for at in (0.1, 0.2, 0.3, 1.5, 1.6)] == [3, 0, 0, 1, 2]
    words = dict(zip(days, queries.lists[0].tolist(), strict=True))
    assert [words[at] for at in (0.1, 0.2, 0.3, 0.4)] == [[3, -1], [-1, -1], [-1, -1], [2, 1]]
    place = dict(zip(days, queries.vectors[0].tolist(), strict=True))
    assert [place[at] for at in (0.1, 0.2, 0.3)] == [[0.5, 1.5], [0, 0], [2, 3]]
    assert set(queries.codes[:, layout.codes.index("vip")]) == {0, 1}


def test_a_shop_of_ones_own_features_alone(without_ray: None, tmp_path: Path) -> None:
    """Categories of the catalogue are derived whatever the features: here they are hashed."""
    encode = Encoding(buckets=50)
    top = Feature(name="top", side="query", kind="categorical", source="derived", column="top_category", encode=encode)
    shop = run(write_raw(tmp_path / "raw"), FeatureSchema((top, *FEATURES)))
    assert set(shop.transforms.vocabularies) == {"vip", "brand", "tags", "country", "words", "item_id"}
    codes = shop.events().context_codes("top")
    lamps, tables = hashed(["lamps", "tables"], 50).tolist()
    assert set(codes.tolist()) == {0, lamps, tables}
    activity = {row["user_id"]: row["top_category_long"] for row in final_activity(shop).to_pylist()}
    assert activity == {"u1": "tables", "u2": "lamps"}
    assert shop.item_features(np.zeros((4, 0), np.float32), np.zeros((4, 0), np.float32)).columns.codes.shape == (4, 1)


def digest_of(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*.parquet"))
    }


def test_without_them_a_run_is_what_it_was(without_ray: None, tmp_path: Path) -> None:
    shop = run(write_raw(tmp_path / "raw"))
    plain, fingerprint = digest_of(shop.path), shop.info.fingerprint
    assert run(tmp_path / "raw").info.fingerprint == fingerprint
    assert digest_of(shop.path) == plain
    other = run(tmp_path / "raw", SCHEMA)
    assert other.info.fingerprint != fingerprint
    assert other.info.missing == shop.info.missing
    narrow = {name: pq.read_table(shop.path / name).column_names for name in ("users.parquet", "items.parquet")}
    own = ["brand", "tags", "style", "weight"]
    assert narrow == {"users.parquet": [*c.USERS.names, "vip"], "items.parquet": [*c.ITEMS.names, *own]}


def test_users_of_events_alone_and_records_of_before_have_none(without_ray: None, tmp_path: Path) -> None:
    raw_dir = write_raw(tmp_path / "raw")
    day = tmp_path / "records" / "interactions" / "day=2024-10-08"
    for name, at, more in (("old", 4.7, {}), ("new", 4.8, {r.CONTEXT: ['{"country": "PL", "place": [8.0, 9.0]}']})):
        stamp = START + round(at * 86_400)
        row = {"user_id": ["u9"], "item_id": ["i1"], "event_id": [name], "event": ["view"], "timestamp": [stamp]}
        write_table(day, row | {r.ACCEPTED_MS: [1_000 * stamp + 5]} | more, f"{name}.parquet")
    shop = run(raw_dir, SCHEMA, records_dir=tmp_path / "records", records_end=FIRST_DAY + 10)
    assert events_of(shop) == EVENTS | {4.7: (None, None, None), 4.8: ("PL", None, [8.0, 9.0])}
    users = pq.read_table(shop.path / "users.parquet").to_pylist()
    assert users[-1] == {"user_id": "u9", "age": None, "gender": None, "vip": None}


def test_declared_columns_of_users_need_the_table(without_ray: None, tmp_path: Path) -> None:
    raw_dir = write_raw(tmp_path / "raw")
    (raw_dir / "users" / "part-0.parquet").unlink()
    (raw_dir / "users").rmdir()
    with pytest.raises(SchemaError, match=r"no folder .*users, but the config declares columns of users: vip; add the"):
        run(raw_dir, SCHEMA)


@pytest.mark.parametrize("name", ["day", "mask", "partition", "subject", "late_s"])
def test_a_name_of_processed_events_is_taken(without_ray: None, tmp_path: Path, name: str) -> None:
    write_shop(tmp_path / "raw")
    with pytest.raises(ValueError, match=rf"interactions.{name}: the name is taken by another column"):
        run(tmp_path / "raw", context(name))


@pytest.mark.parametrize("name", ["user_row", "num_events", "subject_id", "event_timestamp"])
def test_a_name_of_processed_users_is_taken(without_ray: None, tmp_path: Path, name: str) -> None:
    write_shop(tmp_path / "raw")
    own = Feature(name="own", side=Side.QUERY, kind=FeatureKind.CATEGORICAL, column=name)
    with pytest.raises(ValueError, match=rf"users.{name}: the name is taken by another column"):
        run(tmp_path / "raw", FeatureSchema((*SHOP.features, own)))


def test_encoded_rows_carry_them_and_illegal_ones_are_kept_out(encode_rows: Encode) -> None:
    good = {"user_id": "u1", "item_id": "i1", "country": "DE", "words": ["a", "b"], "place": [1.0, 2.0]}
    rows = [good, {**good, "country": "."}, {**good, "words": ["a", "..", "x"]}, {"user_id": "u1", "item_id": "i1"}]
    encoded = encode_rows(rows, extra=(COUNTRY, WORDS, PLACE)).to_pylist()
    assert [VERDICTS[row["verdict"]] for row in encoded] == ["kept", "illegal_id", "illegal_id", "kept"]
    assert [row["value"] for row in encoded[1:3]] == [
        "country '.': programs take it for a folder in a path",
        "words '..': programs take it for a folder in a path",
    ]
    assert [(row["country"], row["words"], row["place"]) for row in (encoded[0], encoded[3])] == [
        ("DE", ["a", "b"], [1.0, 2.0]),
        (None, None, None),
    ]


def test_repeats_are_found_whatever_they_say_besides(encode_rows: Encode, spec: Spec) -> None:
    row = {"user_id": "u1", "item_id": "i1", "event_id": "a", "country": "DE"}
    rows = [row, {**row, "country": "FR"}, {**row, "event_id": "b", "country": None}]
    statistics, _, events = finish(encode_rows(rows, extra=(COUNTRY,)), spec(extra=(COUNTRY,)))
    assert statistics["num_duplicate_events"] == 1
    assert [(event["event_id"], event["country"]) for event in events] == [("a", "DE"), ("b", None)]


def test_impressions_have_them(without_ray: None, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    shop = run(write_raw(tmp_path / "raw"))
    shown = {
        "request_id": ["r1", "r1", "r2"],
        "user_id": ["u1", "u1", "u2"],
        "item_id": ["i1", "i4", "i3"],
        "position": [0, 1, 0],
        "timestamp": [START + 5] * 3,
        "clicked": [True, False, False],
        "country": ["DE", "a\tb", ""],
        "place": [[1.0, 2.0], None, None],
    }
    write_table(tmp_path / "raw" / "impressions" / "day=2024-10-04", shown)
    rows = read_impressions(shop, tmp_path / "raw", extra=IMPRESSIONS)
    assert [(row["item_row"], row["country"], row["place"]) for row in rows.to_pylist()] == [
        (0, "DE", [1.0, 2.0]),
        (2, None, None),
    ]
    assert "1 impressions kept out: illegal country, for example 'a\\tb'" in caplog.messages
    assert rows.column_names[-3:] == ["propensity", "country", "place"]
    for name in ("subject", "item_row", "day", "epsilon"):
        with pytest.raises(ValueError, match=rf"impressions.{name}: the name is taken by another column"):
            read_impressions(shop, tmp_path / "raw", extra=[Column(name, Kind.CATEGORY)])
