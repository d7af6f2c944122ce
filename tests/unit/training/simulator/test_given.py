from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from contracts import columns as c
from contracts.errors import DataError, SchemaError
from tests.unit.training.simulator.conftest import START
from training.simulator import Oracle, SimulatorConfig, given, simulate
from training.simulator.period import Period

NUM_ITEMS = 30


def items(**changes: object) -> pa.Table:
    columns: dict[str, object] = {
        "item_id": [f"a/{row}" for row in range(NUM_ITEMS)],
        "name": [f"Thing {row}" for row in range(NUM_ITEMS)],
        "description": ["A thing."] * (NUM_ITEMS - 1) + [None],
        "category_l1": ["red", "blue", "green"] * (NUM_ITEMS // 3),
        "price": pa.array([1.99, 24_999.99, None] * (NUM_ITEMS // 3), pa.float64()),
        "gender": ["F", "M", "Any"] * (NUM_ITEMS // 3),
        "stock": list(range(NUM_ITEMS)),
    }
    return pa.table({name: value for name, value in {**columns, **changes}.items() if value is not None})


def config(tmp_path: Path, table: pa.Table, users: pa.Table | None = None, **changes: object) -> SimulatorConfig:
    pq.write_table(table, tmp_path / "items.parquet")
    values: dict[str, object] = {
        "size": "debug",
        "num_events": 900,
        "start_date": START,
        "items_path": tmp_path / "items.parquet",
        "columns": {"title": "name"},
    }
    if users is not None:
        pq.write_table(users, tmp_path / "users.parquet")
        values["users_path"] = tmp_path / "users.parquet"
    return SimulatorConfig(**(values | changes))


def test_a_real_catalogue_keeps_what_it_has_and_gets_what_it_lacks(tmp_path: Path) -> None:
    users = pa.table({"user_id": ["x", "y", "z"] * 1, "age": [31, None, 70], "gender": ["F", "M", "D"]})
    raw = tmp_path / "raw"
    summary = simulate(config(tmp_path, items(), users, num_events=150), raw)
    assert (summary.num_users, summary.num_items) == (3, NUM_ITEMS)
    written = pq.read_table(raw / "items")
    assert written["item_id"].to_pylist() == items()["item_id"].to_pylist()
    assert written["title"].to_pylist() == items()["name"].to_pylist()
    assert written["category_l2"].to_pylist() == items()["category_l1"].to_pylist()
    assert written["gender"].to_pylist() == items()["gender"].to_pylist()
    price = written["price"].to_pylist()
    assert price[:2] == [1.99, 24_999.99]
    assert price[2] > 0
    descriptions = written["description"].to_pylist()
    assert descriptions[0].startswith("A thing. Available in ")
    assert len(descriptions[-1]) > 100
    assert (raw / written["image_path"][0].as_py()).is_file()
    people = pq.read_table(raw / "users")
    assert people["user_id"].to_pylist() == ["x", "y", "z"]
    assert people["age"].to_pylist()[::2] == [31.0, 70.0]
    assert people["age"][1].as_py() >= 16
    assert people["gender"].to_pylist() == ["F", "M", None]
    oracle = Oracle.open(raw)
    _, scores = next(oracle.scores(oracle.sample(summary.last_day), "full"))
    assert scores.shape[1] == NUM_ITEMS


def test_given_brands_are_kept_and_missing_ones_stay_missing(tmp_path: Path) -> None:
    maker = ["Acme", "Zeta", None] * (NUM_ITEMS // 3)
    table = items().append_column("maker", pa.array(maker))
    renames = {"title": "name", "brand": "maker"}
    raw = tmp_path / "raw"
    simulate(config(tmp_path, table, brands=1, columns=renames), raw)
    assert pq.read_table(raw / "items")["brand"].to_pylist() == maker
    shop = given.read_catalogue(
        config(tmp_path, table, brands=1, columns=renames), Period(20_514, 14, "UTC"), np.random.default_rng(0)
    )
    assert shop.brands == ["Acme", "Zeta"]
    assert shop.traits.brand.tolist() == [0, 1, 2] * (NUM_ITEMS // 3)


def test_brands_are_drawn_where_none_are_given_and_left_out_on_request(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    simulate(config(tmp_path, items(), brands=4), raw)
    assert set(pq.read_table(raw / "items")["brand"].to_pylist()) <= {f"brand_0{row}" for row in range(1, 5)}
    simulate(config(tmp_path, items(brand=["Acme"] * NUM_ITEMS)), raw)
    assert "brand" not in pq.read_table(raw / "items").column_names


def test_texts_stay_as_they_are_on_request(tmp_path: Path) -> None:
    simulate(config(tmp_path, items(), describe_taste=False), tmp_path / "raw")
    assert pq.read_table(tmp_path / "raw" / "items")["description"][0].as_py() == "A thing."


def test_a_launch_counts_from_the_next_midnight(tmp_path: Path) -> None:
    midnight = 1_772_409_600  # 2026-03-02, the first day, UTC
    launched = [midnight - 1, midnight, midnight + 1, *[0] * (NUM_ITEMS - 3)]
    simulate(config(tmp_path, items(launched_at=launched)), tmp_path / "raw")
    written = pq.read_table(tmp_path / "raw" / "items")["launched_at"].to_pylist()
    assert written[:4] == [midnight, midnight, midnight + 86_400, 0]


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (
            {"item_id": None},
            SchemaError,
            r"no column 'item_id' for items.item_id; the file has",
        ),
        ({"name": None}, SchemaError, r"no column 'name' for items.title; the file has"),
        ({"price": ["cheap"] * NUM_ITEMS}, SchemaError, "column 'price' is string, expected float"),
        ({"item_id": ["same"] * NUM_ITEMS}, DataError, "item_id 'same' occurs 30 times in items"),
        ({"item_id": [None, *map(str, range(NUM_ITEMS - 1))]}, SchemaError, "column 'item_id' is null in row 0"),
        ({"price": [-1.0] * NUM_ITEMS}, SchemaError, "column 'price' is -1.0 in row 0"),
        ({"price": [0.0] * NUM_ITEMS}, DataError, r"price 0.0 of item 'a/0' is not positive"),
        ({"price": [1.0] * (NUM_ITEMS - 1) + [np.inf]}, SchemaError, "column 'price' is inf in row 29"),
        ({"launched_at": [1_772_409_600_000] * NUM_ITEMS}, SchemaError, "divide by 1,000 if these are milliseconds"),
        ({"launched_at": [2_000_000_000] * NUM_ITEMS}, DataError, "no item is launched by the first day 2026-03-02"),
    ],
)
def test_unusable_tables_are_refused_and_nothing_is_written(
    tmp_path: Path, changes: dict[str, object], error: type[Exception], message: str
) -> None:
    columns = {name: value for name, value in items().to_pydict().items() if changes.get(name, 0) is not None}
    table = pa.table(columns | {name: value for name, value in changes.items() if value is not None})
    with pytest.raises(error, match=message):
        simulate(config(tmp_path, table), tmp_path / "raw")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["items.parquet"]


def test_a_missing_or_empty_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no Parquet file at .*nobody; the table 'users' needs at least one"):
        simulate(SimulatorConfig(size="debug", users_path=tmp_path / "nobody"), tmp_path / "raw")
    with pytest.raises(DataError, match="the items table is empty, expected at least one row"):
        simulate(config(tmp_path, items().slice(0, 0)), tmp_path / "raw")


def test_the_taste_is_drawn_by_the_seed(tmp_path: Path) -> None:
    told = []
    for seed in (1, 1, 2):
        simulate(config(tmp_path, items(), seed=seed), tmp_path / "raw")
        told.append(pq.read_table(tmp_path / "raw" / "items")["description"].to_pylist())
    assert told[0] == told[1]
    assert np.mean([a == b for a, b in zip(told[0], told[2], strict=True)]) < 0.5


def test_given_items_keep_to_the_same_rule_as_raw_tables(tmp_path: Path) -> None:
    path = tmp_path / "items.parquet"
    pq.write_table(pa.table({"item_id": ["i1", "i2"], "category_l1": ["", "c" * 300]}), path)
    with pytest.raises(SchemaError, match=r"column 'category_l1' is .* in row 1: it has 300 characters"):
        given.read_given(path, c.ITEMS, {})
    (tmp_path / "folder").mkdir()
    pq.write_table(pa.table({"item_id": ["i1"]}), tmp_path / "folder" / "one ?.PQ")
    assert len(given.read_given(tmp_path / "folder", c.ITEMS, {"age": "years"})) == 1
