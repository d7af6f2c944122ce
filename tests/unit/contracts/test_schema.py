"""Features as data: what can be declared, and what a schema says of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from contracts.config import load_config
from contracts.errors import ConfigError
from contracts.feature import Encoding, Feature, Side
from contracts.presets import SHOP, FeaturesConfig
from contracts.schema import FeatureSchema, SideLayout


def item(name: str, kind: str = "categorical", **values: Any) -> Feature:
    return Feature.model_validate({"name": name, "side": "item", "kind": kind, **values})


def query(name: str, kind: str = "categorical", **values: Any) -> Feature:
    return Feature.model_validate({"name": name, "side": "query", "kind": kind, **values})


def derived(name: str, kind: str = "cyclic", **values: Any) -> Feature:
    return query(name, kind, source="derived", **values)


def test_the_layout_of_the_shop() -> None:
    """Weights of trained models depend on it."""
    assert SHOP.layout(Side.QUERY) == SideLayout(
        codes=("user_id", "gender", "age_binned", "top_category", "top_category_long", "device_type"),
        numbers=("age_norm", "hour_sin", "hour_cos", "weekday_sin", "weekday_cos"),
        lists=(),
        vectors=(),
    )
    assert SHOP.layout(Side.ITEM) == SideLayout(
        codes=("category_l1", "category_l2", "item_gender"),
        numbers=("price_log_norm",),
        lists=(),
        vectors=("text", "image"),
    )
    assert SHOP.layout(Side.PAIR) == SideLayout((), (), (), ())


def test_what_hides_the_features_of_the_shop() -> None:
    assert {feature.name: feature.hidden_with for feature in SHOP.of(Side.QUERY)} == {
        "user_id": "user_id",
        "gender": "profile",
        "age_binned": "visitor",
        "top_category": "profile",
        "top_category_long": "profile",
        "device_type": "device",
        "age_norm": "visitor",
        "hour": None,
        "weekday": None,
    }


def test_the_columns_of_a_source_are_read_once() -> None:
    columns = {source: [one.column_name for one in SHOP.read_from(source)] for source in ("users", "items", "context")}
    assert columns == {
        "users": ["user_id", "gender", "age"],
        "items": ["category_l1", "category_l2", "gender", "price"],
        "context": ["device_type"],
    }
    twice = FeatureSchema((item("x", answer=True), item("y", column="x", filter=True), item("z", column="x")))
    assert [[one.name for one in some] for some in (twice.filters, twice.shown)] == [["y"], ["y"]]
    assert [feature.column_name for feature in SHOP.filters] == ["category_l1", "category_l2", "gender", "price"]


def test_columns_that_a_feature_becomes() -> None:
    features = (
        item("price", "numeric", encode={"missing_flag": True}),
        item("height", "numeric", encode={"bins": 4}),
        item("tags", "categories"),
        item("style", "vector", length=3),
        item("month", "cyclic", encode={"period": 12}),
    )
    layout = SideLayout.of(features)
    assert layout.codes == ("height",)
    assert layout.numbers == ("price", "price_missing", "month_sin", "month_cos")
    assert (layout.lists, layout.vectors) == (("tags",), ("style",))
    assert list(layout) == ["height", "price", "price_missing", "month_sin", "month_cos", "tags", "style"]


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ([item("x"), query("x")], "the name 'x' of the query feature 'x' is taken by 'x'; rename it"),
        ([derived("hour"), item("hour_sin")], "the name 'hour_sin' of the item feature 'hour_sin' is taken by 'hour'"),
        (
            [item("x_missing"), item("x", "numeric", encode={"missing_flag": True})],
            "'x_missing' of the item feature 'x'",
        ),
        ([item("item_id")], "the name 'item_id' of the item feature 'item_id' is taken by \"the catalogue's ids\""),
        (
            [query("a", column="x"), query("b", column="x", source="context")],
            "'b' reads context.x as categorical, and 'a' reads users.x as categorical; a side has one column of a name",
        ),
        (
            [item("a", column="x"), item("b", "numeric", column="x")],
            "'b' reads items.x as numeric, and 'a' reads items.x",
        ),
        (
            [item("a", "vector", column="x", length=2), item("b", "vector", column="x", length=3)],
            "'b' reads items.x as vector",
        ),
        (
            [query("timestamp", "numeric")],
            "reads users.timestamp, which is the time of a request; take hour or weekday",
        ),
        (
            [item("a"), item("b", encode={"share": "c"}), item("d", encode={"buckets": 5})],
            "b: encode.share='c' is not a feature with its own vocabulary; legal: a",
        ),
        ([item("a", encode={"share": "a"}), item("b")], "a: encode.share='a' is not a feature .*; legal: b"),
    ],
)
def test_features_that_clash(features: list[Feature], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FeatureSchema(tuple(features))


def test_two_sides_may_read_columns_of_one_name() -> None:
    schema = FeatureSchema((query("gender"), item("item_gender", column="gender")))
    assert [schema[name].origin for name in ("gender", "item_gender")] == ["users", "items"]
    assert "gender" in schema
    assert "colour" not in schema


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"kind": "categorical", "encode": {"clip": [0, 1]}},
            "a categorical feature has no encoding 'clip'; legal: buc",
        ),
        ({"kind": "numeric", "encode": {"share": "y"}}, "a numeric feature has no encoding 'share'; legal: bins, clip"),
        ({"kind": "vector", "length": 2, "encode": {"log": "signed"}}, "a vector feature .* 'log'; legal: none"),
        (
            {"kind": "categorical", "encode": {"buckets": 9, "min_count": 2}},
            "buckets=9 hashes every category; take out",
        ),
        (
            {"kind": "categorical", "encode": {"share": "y", "max_size": 2}},
            "share=y takes the vocabulary as it is; set",
        ),
        ({"kind": "numeric", "encode": {"bins": 4, "missing_flag": True}}, "bins and missing_flag exclude each other"),
        ({"kind": "numeric", "encode": {"bins": 4, "fill": 1}}, "bins and fill exclude each other; a bin of its own"),
        ({"kind": "numeric", "encode": {"bins": [1, 1]}}, r"bins=\[1.0, 1.0\] are not ascending edges"),
        ({"kind": "numeric", "encode": {"bins": []}}, r"bins=\[\] are not ascending edges"),
        ({"kind": "numeric", "encode": {"bins": 1}}, "bins=1; expected 2 or more, or the edges between them"),
        ({"kind": "numeric", "encode": {"clip": [2, 1]}}, r"clip=\[2.0, 1.0\] has its lowest number above its highest"),
        ({"kind": "numeric", "encode": {"log": "natural", "fill": 0}}, "fill=0.0 has no natural logarithm; expected"),
        ({"kind": "cyclic"}, "encode.period=None with source=None; a cyclic feature needs it"),
        ({"kind": "vector"}, "length=None with kind=vector; a vector needs its length, and nothing else has one"),
        ({"kind": "numeric", "length": 2}, "length=2 with kind=numeric; a vector needs its length"),
        ({"kind": "numeric", "source": "users"}, "source=users has no item features; expected one of items, derived"),
        ({"kind": "numeric", "mask": "device"}, "mask=device with side=item; only query features are masked"),
        (
            {"kind": "vector", "length": 2, "answer": True},
            "answer with side=item, kind=vector; expected an item feature",
        ),
        (
            {"kind": "numeric", "side": "query", "filter": True},
            "filter with side=query, kind=numeric; expected an item",
        ),
        ({"kind": "label"}, "kind=label with side=item; a label belongs to a pair"),
        (
            {"kind": "text", "column": "title"},
            r"nothing named 'title' is derived as item, text; legal .* text \(item, text",
        ),
        ({"kind": "cyclic", "side": "query", "source": "derived"}, "nothing named 'x' is derived as query, cyclic"),
    ],
)
def test_a_feature_that_cannot_be(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"x: {message}"):
        Feature.model_validate({"name": "x", "side": "item", **values})


def test_what_is_derived_has_its_own_period_and_no_vocabulary() -> None:
    with pytest.raises(
        ValueError, match=r"period=12.0 with source=derived; a cyclic feature needs it, and what is deriv"
    ):
        derived("hour", encode={"period": 12})
    with pytest.raises(
        ValueError, match=r"t: what is derived has no vocabulary of its own; name by encode.share the feat"
    ):
        derived("t", "categorical", column="top_category")
    assert derived("t", "categorical", column="top_category", encode={"buckets": 7}).vocabulary is None


@pytest.mark.parametrize(
    "other",
    [
        item("brand", nullable=False),
        item("brand", column="marke"),
        item("brand", filter=True),
        item("brand", encode={"min_count": 2}),
        item("label_of_brand"),
        query("brand"),
    ],
)
def test_any_change_changes_the_digest(other: Feature) -> None:
    digest = FeatureSchema((item("brand"), item("size"))).digest
    assert FeatureSchema((other, item("size"))).digest != digest
    assert FeatureSchema((item("size"), item("brand"))).digest != digest
    assert FeatureSchema((item("brand"), item("size"))).digest == digest
    assert FeatureSchema((item("brand", encode={"min_count": 1}), item("size"))).digest == digest  # the default


def test_values_and_back() -> None:
    declared = (item("size", "numeric", encode={"bins": [1, 2.5], "log": "signed"}), query("land", source="context"))
    schema = FeatureSchema(SHOP.features + declared)
    again = FeatureSchema.from_values(schema.values())
    assert again == schema
    assert again.digest == schema.digest
    assert again["size"].encode == Encoding(bins=(1.0, 2.5), log="signed")
    assert schema.values()[-1] == {"name": "land", "side": "query", "kind": "categorical", "source": "context"}
    with pytest.raises(ValueError, match="a schema is a list of features, got a dict"):
        FeatureSchema.from_values({})


def load(folder: Path, text: str) -> FeaturesConfig:
    (folder / "a.yaml").write_text(text)
    return load_config(FeaturesConfig, folder / "a.yaml")


def test_a_range_of_names_is_a_feature_for_each_number(tmp_path: Path) -> None:
    columns = (
        "{name: label, side: pair, kind: label}, {name: I1..I13, side: pair, kind: numeric, encode: {log: signed}}"
    )
    config = load(tmp_path, f"preset: none\ncolumns: [{columns}, {{name: C09..C11, side: pair, kind: categorical}}]")
    schema = config.to_schema()
    assert schema.layout(Side.PAIR).numbers == tuple(f"I{number}" for number in range(1, 14))
    assert schema.layout(Side.PAIR).codes == ("C09", "C10", "C11")
    assert schema["I13"].encode.log == "signed"
    assert schema["I13"].column_name == "I13"
    assert [one.name for one in FeaturesConfig().to_schema().features] == [one.name for one in SHOP.features]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            "{name: I3..I1, side: pair, kind: numeric}",
            "columns: 'I3..I1' is not a range of names; expected for example I1..",
        ),
        (
            "{name: I1..I3, side: pair, kind: numeric, column: x}",
            "'I1..I3' is not a range of names; .* without a column",
        ),
        ("{name: I1..J3, side: pair, kind: numeric}", r"columns.0.name: String should match .* \(got 'I1..J3'\)"),
        (
            "{name: x, side: itm, kind: numeric}",
            r"columns.0.side: Input should be 'query', 'item' or 'pair' \(got 'itm'\)",
        ),
        ("{name: x, side: item, kind: numeric, colum: y}", "unknown key 'columns.0.colum'; legal keys: answer, column"),
        (
            "{name: x, side: item, kind: numeric, encode: {lg: 1}}",
            "unknown key 'columns.0.encode.lg'; legal keys: bins",
        ),
        ("{name: x, side: item, kind: numeric, encode: {clip: [2, 1]}}", r"columns.0: x: clip=\[2.0, 1.0\] has"),
        (
            "{name: gender, side: item, kind: numeric}",
            "a.yaml: the name 'gender' of the item feature 'gender' is taken",
        ),
        ("x", r"columns.0: Input should be a valid dictionary or instance of Feature \(got 'x'\)"),
    ],
)
def test_what_is_wrong_in_a_config_is_named(tmp_path: Path, columns: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"a.yaml: .*{message}" if not message.startswith("a.yaml") else message):
        load(tmp_path, f"columns: [{columns}]")
