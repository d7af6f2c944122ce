"""Columns of the shop's own in the stages: filtered by raw values, encoded as training does, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from contracts import columns as c
from contracts.encoders import Values
from contracts.feature import Side
from contracts.item_values import Categories
from contracts.options import ItemFilters, Ragged
from contracts.user_records import RecentItems, UserFeatures, UserRecords
from serving.stages.eligibility import Eligibility
from serving.stages.history import HistoryBuilder
from serving.stages.item_lookup import ItemLookup
from serving.stages.query_features import QueryFeatureBuilder
from tests.fixtures.declared import SCHEMA, declared_transforms
from tests.fixtures.served_bundle import NOW, VERSION, request_batch

INF = float("inf")
BRANDS = ("acme", "rare", None, "acme", "zeta", "zeta")
TAGS = (["new", "sale"], ["sale"], None, [], ["odd"], ["new"])
LITRES = np.array([0.5, 1.0, np.nan, 2.0, 0.0, 1.5])
ITEMS = ItemLookup(
    {
        "brand": Categories.of_values(BRANDS),
        "tags": Categories.of_lists(TAGS),
        "litres": LITRES,
    },
    len(BRANDS),
)
ELIGIBILITY = Eligibility(np.zeros(6, dtype=np.int64), np.array([False] * 5 + [True]), ITEMS)


def passing(
    codes: dict[str, list[list[str]]], ranges: dict[str, list[tuple[float, float]]], size: int = 1
) -> list[list[int]]:
    """ItemRows that requests with these filters may get."""
    filters = ItemFilters(
        np.arange(size, dtype=np.int32),
        Ragged.of([[]] * size),
        {column: Ragged.of([codes_of(column, names) for names in lists]) for column, lists in codes.items()},
        {column: np.array(bounds) for column, bounds in ranges.items()},
    )
    return [np.flatnonzero(mask).tolist() for mask in ELIGIBILITY.of(np.full(size, NOW), filters)]


def codes_of(column: str, names: list[str]) -> list[int]:
    values = ITEMS.values[column]
    assert isinstance(values, Categories)
    return [values.vocabulary.encode_one(name) for name in names]


def test_a_brand_too_rare_for_the_models_can_be_filtered_by() -> None:
    assert declared_transforms().encode("brand", BRANDS).tolist() == [1, 0, 0, 1, 2, 2]
    assert passing({"brand": [["rare"]]}, {}) == [[1]]
    assert passing({"brand": [["acme", "rare"]]}, {}) == [[0, 1, 3]]


@pytest.mark.parametrize(
    ("tags", "expected"),
    [(["sale"], [0, 1]), (["new"], [0]), (["odd", "new"], [0, 4]), ([], [0, 1, 2, 3, 4])],
)
def test_an_item_needs_one_of_the_tags(tags: list[str], expected: list[int]) -> None:
    """Item 5, which is new as well, is withdrawn."""
    assert passing({"tags": [tags]}, {}) == [expected]


def test_ranges_of_any_number_hold_both_ends_and_leave_out_what_is_unknown() -> None:
    assert passing({}, {"litres": [(0.5, 1.0)]}) == [[0, 1]]
    assert passing({}, {"litres": [(-INF, 0.5)]}) == [[0, 4]]
    assert passing({}, {"litres": [(-INF, INF)]}) == [[0, 1, 2, 3, 4]]


def test_requests_of_a_batch_keep_their_own_filters() -> None:
    codes = {"brand": [["acme"], []], "tags": [[], ["odd", "sale"]]}
    assert passing(codes, {"litres": [(1.0, INF), (-INF, INF)]}, size=2) == [[3], [0, 1, 4]]


def test_a_catalogue_in_which_no_item_has_a_tag() -> None:
    empty = Categories.of_lists([None] * 6)
    eligibility = Eligibility(np.zeros(6, dtype=np.int64), np.zeros(6, dtype=np.bool_), ItemLookup({"tags": empty}, 6))
    wanted = ItemFilters(np.array([0], dtype=np.int32), Ragged.of([[]]), {"tags": Ragged.of([[1]])}, {})
    assert not eligibility.of(np.array([NOW]), wanted).any()


USERS = UserFeatures(
    known=np.array([True, True]),
    columns={
        c.AGE: np.array([30.0, np.nan]),
        c.GENDER: ("F", None),
        "city": ("Köln", "Rome"),
        "likes": (("tea", "odd", "art", "golf"), None),
        "income": np.array([80.0, np.nan]),
        "taste": np.array([[0.5, -1.0], [0.0, 0.0]], dtype=np.float32),
        c.TOP_CATEGORY: ("toys", None),
        c.TOP_CATEGORY_LONG: (None, "books"),
    },
)


def test_users_are_picked_by_place_and_nothing_is_known_of_the_place_before_the_first() -> None:
    """One value of every kind; -1 stands for a request without a user."""
    found = USERS.of([1, -1, 0, 0])
    np.testing.assert_array_equal(found[c.AGE], [np.nan, np.nan, 30, 30])
    np.testing.assert_array_equal(found["income"], [np.nan, np.nan, 80, 80])
    assert found["city"] == ("Rome", None, "Köln", "Köln")
    assert found["likes"] == (None, None, *[("tea", "odd", "art", "golf")] * 2)
    assert np.asarray(found["taste"]).tolist() == [[0, 0], [0, 0], [0.5, -1], [0.5, -1]]
    assert np.asarray(found["taste"]).dtype == np.float32
    assert {name: len(values) for name, values in USERS.of([]).items()} == dict.fromkeys(found, 0)


def features_of(columns: dict[str, Values], known: list[bool], countries: tuple[str | None, ...]) -> dict[str, object]:
    size = len(known)
    batch = request_batch(size, context={"country": countries})
    records = UserRecords(np.array(known), columns, (RecentItems(),) * size, ((),) * size)
    builder = QueryFeatureBuilder(VERSION, declared_transforms(), HistoryBuilder({}, 0, 1))
    encoded, layout = builder(batch, records).features.columns, SCHEMA.layout(Side.QUERY)
    assert encoded.digest == SCHEMA.digest
    codes = dict(zip(layout.codes, encoded.codes.T.tolist(), strict=True))
    numbers = dict(zip(layout.numbers, encoded.numbers.T.tolist(), strict=True))
    lists = dict(zip(layout.lists, (one.tolist() for one in encoded.lists), strict=True))
    vectors = dict(zip(layout.vectors, (one.tolist() for one in encoded.vectors), strict=True))
    return {**codes, **numbers, **lists, **vectors}


def test_query_features_of_every_kind_by_hand() -> None:
    """A user with everything, one of whom little is known, and a request without a user."""
    found = features_of(USERS.of([0, 1, -1]), [True, True, False], ("DE", None, "FR"))
    assert found["country"] == [2, 0, 0]
    assert found["city"] == [2, 0, 0]
    assert found["likes"] == [[3, 0, 1], [-1] * 3, [-1] * 3]  # three at most, `odd` is out of vocabulary
    assert found["income"] == [2.0, -0.5, -0.5]
    assert found["income_missing"] == [0, 1, 1]
    assert found["taste"] == [[0.5, -1], [0, 0], [0, 0]]
    assert found[c.DEVICE_TYPE] == [0, 0, 0]


def test_without_stores_and_context_nothing_is_known() -> None:
    nothing = features_of({}, [False], (None,))
    assert nothing == features_of(USERS.of([-1]), [False], (None,))
