"""All columns of the raw tables: name, kind, and whether a shop must have them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum
from typing import Final

from recommender_api.values import EVENTS as EVENTS
from recommender_api.values import MAX_NUMBER
from recommender_api.values import EventName as EventName

USER_ID: Final = "user_id"
SESSION_ID: Final = "session_id"
ITEM_ID: Final = "item_id"
AGE: Final = "age"
GENDER: Final = "gender"
TITLE: Final = "title"
DESCRIPTION: Final = "description"
CATEGORY_L1: Final = "category_l1"
CATEGORY_L2: Final = "category_l2"
PRICE: Final = "price"
IMAGE_PATH: Final = "image_path"
LAUNCHED_AT: Final = "launched_at"
TIMESTAMP: Final = "timestamp"
DEVICE_TYPE: Final = "device_type"
EVENT: Final = "event"
EVENT_ID: Final = "event_id"
REQUEST_ID: Final = "request_id"
LABEL: Final = "label"
POSITION: Final = "position"
CLICKED: Final = "clicked"
EXPLORED: Final = "explored"
PROPENSITY: Final = "propensity"
ARM: Final = "arm"
BUNDLE_VERSION: Final = "bundle_version"
SUBJECT_ID: Final = "subject_id"
"""Name of a user or session, made by `contracts.ids`."""
DAY: Final = "day"
"""Partition key `day=YYYY-MM-DD`, a shop-local day."""

EVENT_TIMESTAMP: Final = "event_timestamp"
"""Time of a row of a feature view, as Feast names it."""
TOP_CATEGORY: Final = "top_category"
TOP_CATEGORY_LONG: Final = "top_category_long"


MAX_LIST: Final = 100
"""Most distinct values of a list in one row."""


class Kind(StrEnum):
    """Kind of a raw column; `training.tables.types` maps kinds to Arrow types."""

    STRING = "string"
    INT = "int64"
    FLOAT = "float64"
    """Integers are accepted as well."""
    BOOL = "bool"
    CATEGORY = "category"
    """A name; whole numbers and booleans become strings, see `category_text`."""
    STRINGS = "strings"
    """Several names in a row, without order or repeats, for example tags. Null and an empty list both mean none."""
    VECTOR = "vector"
    """A list of finite numbers, equally long in every row."""

    @property
    def is_list(self) -> bool:
        """Whether a row has several values."""
        return self in (Kind.STRINGS, Kind.VECTOR)

    @property
    def arrow(self) -> str:
        """Arrow's alias for the type of one value in the files that we write."""
        return _ARROW.get(self, self.value)


_ARROW: Final[Mapping[Kind, str]] = {Kind.CATEGORY: "string", Kind.STRINGS: "string", Kind.VECTOR: "float32"}
_NAMES: Final = (Kind.STRING, Kind.CATEGORY, Kind.STRINGS)


def category_text(value: str | int | bool) -> str:
    """Converts a category to its canonical string."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included."""

    low: float
    high: float

    def __contains__(self, value: float | Decimal) -> bool:
        return self.low <= value <= self.high

    def __str__(self) -> str:
        return f"{self.low} to {self.high}"


UNIX_SECONDS: Final = Range(-62_135_596_800, 253_402_300_799)
"""Seconds of the years 1 to 9999."""
NOT_NEGATIVE: Final = Range(0, MAX_NUMBER)
_RANGES: Final = {
    Kind.INT: Range(-(2**63), 2**63 - 1),
    Kind.FLOAT: Range(-MAX_NUMBER, MAX_NUMBER),
    Kind.VECTOR: Range(-MAX_NUMBER, MAX_NUMBER),
}


@dataclass(frozen=True)
class Column:
    """One column of a raw table.

    Attributes:
        legal: range of legal numbers; None = that of its kind.
        free_text: whether strings may be any text; other strings follow the rule for ids, see `recommender_api.values`.
        length: numbers in a row of a vector; None for other kinds.
        declared: whether a shop's config declares the column; then at least one file must have it.
    """

    name: str
    kind: Kind
    required: bool = False
    nullable: bool = True
    legal: Range | None = None
    free_text: bool = False
    length: int | None = None
    declared: bool = False

    def __post_init__(self) -> None:
        has_length = self.length is not None and self.length >= 1
        legal = has_length if self.kind is Kind.VECTOR else self.length is None
        if not legal:
            raise ValueError(
                f"column {self.name!r} is a {self.kind} of length {self.length}; a vector needs a length of 1 or more, "
                "other kinds have none"
            )

    @property
    def range(self) -> Range | None:
        """Range of legal numbers; None for columns without numbers."""
        return self.legal or _RANGES.get(self.kind)

    @property
    def holds_ids(self) -> bool:
        """Whether its strings are ids, or names under the same rule."""
        return self.kind in _NAMES and not self.free_text

    def optional(self) -> Column:
        """The same column, but any file may lack it: files may be older than its declaration."""
        return replace(self, required=False, nullable=True, declared=False)


@dataclass(frozen=True)
class TableSchema:
    """A raw table: its folder name, key column and columns."""

    name: str
    columns: tuple[Column, ...]
    key: str | None = None
    partitioned: bool = False
    at_least_one_of: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    def with_columns(self, extra: Sequence[Column], taken: Collection[str] = ()) -> TableSchema:
        """Adds columns at the end of the table.

        Args:
            extra: columns to add.
            taken: further names that are not free.

        Raises:
            ValueError: a name is taken or occurs twice; names table and column.
        """
        names = {*self.names, *taken}
        for column in extra:
            if column.name in names:
                raise ValueError(
                    f"{self.name}.{column.name}: the name is taken by another column; choose another name in "
                    f"features.columns, and map it to the name in the files by columns: {{{self.name}: {{<new name>: "
                    f"{column.name}}}}}"
                )
            names.add(column.name)
        return replace(self, columns=(*self.columns, *extra))


ExtraColumns = Mapping[str, Sequence[Column]]
"""Additional columns by table."""


USERS: Final = TableSchema(
    "users",
    (
        Column(USER_ID, Kind.STRING, required=True, nullable=False),
        Column(AGE, Kind.FLOAT, legal=NOT_NEGATIVE),
        Column(GENDER, Kind.STRING),
    ),
    key=USER_ID,
)
ITEMS: Final = TableSchema(
    "items",
    (
        Column(ITEM_ID, Kind.STRING, required=True, nullable=False),
        Column(TITLE, Kind.STRING, free_text=True),
        Column(DESCRIPTION, Kind.STRING, free_text=True),
        Column(CATEGORY_L1, Kind.STRING),
        Column(CATEGORY_L2, Kind.STRING),
        Column(GENDER, Kind.STRING),
        Column(PRICE, Kind.FLOAT, legal=NOT_NEGATIVE),
        Column(IMAGE_PATH, Kind.STRING, free_text=True),
        Column(LAUNCHED_AT, Kind.INT, legal=UNIX_SECONDS),
    ),
    key=ITEM_ID,
)
INTERACTIONS: Final = TableSchema(
    "interactions",
    (
        Column(USER_ID, Kind.STRING),
        Column(SESSION_ID, Kind.STRING),
        Column(ITEM_ID, Kind.STRING, required=True, nullable=False),
        Column(TIMESTAMP, Kind.INT, required=True, nullable=False, legal=UNIX_SECONDS),
        Column(DEVICE_TYPE, Kind.STRING),
        Column(EVENT, Kind.STRING),
        Column(EVENT_ID, Kind.STRING),
        Column(REQUEST_ID, Kind.STRING),
        Column(LABEL, Kind.FLOAT, legal=Range(0, 1)),
    ),
    partitioned=True,
    at_least_one_of=(USER_ID, SESSION_ID),
)
IMPRESSIONS: Final = TableSchema(
    "impressions",
    (
        Column(REQUEST_ID, Kind.STRING, required=True, nullable=False),
        Column(USER_ID, Kind.STRING),
        Column(SESSION_ID, Kind.STRING),
        Column(ITEM_ID, Kind.STRING, required=True, nullable=False),
        Column(POSITION, Kind.INT, required=True, nullable=False, legal=NOT_NEGATIVE),
        Column(TIMESTAMP, Kind.INT, required=True, nullable=False, legal=UNIX_SECONDS),
        Column(CLICKED, Kind.BOOL),
        Column(DEVICE_TYPE, Kind.STRING),
        Column(EXPLORED, Kind.BOOL),
        Column(PROPENSITY, Kind.FLOAT),
        Column(ARM, Kind.STRING),
        Column(BUNDLE_VERSION, Kind.STRING),
    ),
    partitioned=True,
    at_least_one_of=(USER_ID, SESSION_ID),
)
