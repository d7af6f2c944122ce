"""One feature: the column that it reads, the kind of its values, and how they become model inputs.

A feature belongs to a side: `query` (one value for a request), `item` (one for an item of the catalogue, by ItemRow) or
`pair` (one for a candidate of a request). It reads one column of a source; its kind limits the encodings.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, Literal, Self

from pydantic import Field, model_validator

from contracts import columns as c
from contracts.config import StrictConfig


class Side(StrEnum):
    """What a feature is a property of."""

    QUERY = "query"
    ITEM = "item"
    PAIR = "pair"


class FeatureKind(StrEnum):
    """What the values of a column mean; decides which encodings are legal."""

    CATEGORICAL = "categorical"
    """Strings, whole numbers or booleans; each distinct value is a category."""
    CATEGORIES = "categories"
    """Lists of categories, for example tags; their embeddings are averaged."""
    NUMERIC = "numeric"
    CYCLIC = "cyclic"
    """A periodic number, encoded as sine and cosine."""
    TEXT = "text"
    """Encoded by the text encoder, then reduced by a PCA."""
    IMAGE = "image"
    """Encoded by the picture encoder, then reduced by a PCA."""
    VECTOR = "vector"
    """A list of floats of fixed length, used unchanged."""
    LABEL = "label"
    """The target of a ranker; not an input."""


Source = Literal["users", "items", "context", "examples", "derived"]
"""Where a column comes from: a table; `context` = interactions and impressions in training, the request's `context` in
serving; `derived` = computed by the platform, see `DERIVED`."""
Mask = Literal["user_id", "profile", "visitor", "device"]
"""The cold-start mask that hides a query feature: that of the user id, of a registered user's profile, of everything
about a visitor, or of the device. `profile` includes `user_id`, and `visitor` includes both."""

TIME_OF_DAY: Final = "hour"
DAY_OF_WEEK: Final = "weekday"
DERIVED: Final[Mapping[str, tuple[Side, FeatureKind]]] = {
    TIME_OF_DAY: (Side.QUERY, FeatureKind.CYCLIC),
    DAY_OF_WEEK: (Side.QUERY, FeatureKind.CYCLIC),
    c.TOP_CATEGORY: (Side.QUERY, FeatureKind.CATEGORICAL),
    c.TOP_CATEGORY_LONG: (Side.QUERY, FeatureKind.CATEGORICAL),
    "text": (Side.ITEM, FeatureKind.TEXT),
    "image": (Side.ITEM, FeatureKind.IMAGE),
}
"""Columns that the platform computes: shop-local hour and weekday of the request; the most frequent categories of a
user's interactions (`contracts.features`); embeddings of title and description, and of the picture."""
_COMPUTED: Final = (FeatureKind.TEXT, FeatureKind.IMAGE)
_SOURCES: Final[Mapping[Side, tuple[Source, ...]]] = {
    Side.QUERY: ("users", "context", "derived"),
    Side.ITEM: ("items", "derived"),
    Side.PAIR: ("examples",),
}
_ENCODINGS: Final[Mapping[FeatureKind, frozenset[str]]] = {
    FeatureKind.CATEGORICAL: frozenset({"min_count", "max_size", "buckets", "share"}),
    FeatureKind.CATEGORIES: frozenset({"min_count", "max_size", "buckets", "share", "max_length"}),
    FeatureKind.NUMERIC: frozenset({"fill", "clip", "log", "standardise", "within", "bins", "missing_flag"}),
    FeatureKind.CYCLIC: frozenset({"period"}),
}
_FILTERED: Final = (FeatureKind.CATEGORICAL, FeatureKind.CATEGORIES, FeatureKind.NUMERIC)
_MASK_OF: Final[Mapping[str, Mask]] = {"users": "profile", "context": "device"}


class Encoding(StrictConfig):
    """How a column becomes model inputs; which keys are legal depends on the kind."""

    min_count: int = Field(default=1, ge=1)
    """Categories that occur less often are out of vocabulary."""
    max_size: int | None = Field(default=None, ge=1)
    """How many of the most frequent categories get an id; null = all."""
    buckets: int | None = Field(default=None, ge=1)
    """Hashes categories into this many rows instead of a vocabulary; missing values are out of vocabulary."""
    share: str | None = None
    """Name of a categorical feature whose vocabulary is used."""
    max_length: int = Field(default=20, ge=1, le=100)
    """Only the first values of a list, up to this many, are read."""
    fill: float | Literal["mean", "whole_mean"] = "mean"
    """Replaces missing numbers; `whole_mean` is the mean without its fraction."""
    clip: tuple[float | None, float | None] = (None, None)
    """Lowest and highest number; numbers outside are clipped."""
    log: Literal["natural", "signed"] | None = None
    """`natural`: log(x), where numbers up to 0 count as missing; `signed`: sign(x) · log(1 + |x|)."""
    standardise: bool = True
    """Whether to subtract the mean and divide by the standard deviation."""
    within: str | None = Field(default=None, exclude_if=lambda name: name is None)
    """Name of a categorical feature of items: mean and standard deviation are those of the item's category; null =
    those of all items. Dumps leave out null, so that the digests of older schemas stay the same."""
    bins: int | tuple[float, ...] | None = None
    """Turns numbers into categories: a number of quantile bins, or edges; an edge belongs to the upper bin."""
    missing_flag: bool = False
    """Whether to add a second input that is 1 where the number is missing."""
    period: float | None = Field(default=None, gt=0)
    """Period of a cyclic number."""


class Feature(StrictConfig):
    """A feature; several features may read one column under different names."""

    name: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,62}$")
    """Unique name. I1..I13 in a config stands for thirteen features."""
    side: Side
    """`query`, `item` or `pair`."""
    kind: FeatureKind
    """Kind of its values."""
    source: Source | None = None
    """Where its column comes from; null = users for a query, items for an item, examples for a pair."""
    column: str | None = Field(default=None, pattern=r"^[A-Za-z][A-Za-z0-9_]{0,62}$")
    """Name of its column; null = the feature's name."""
    encode: Encoding = Encoding()
    """How the column becomes model inputs."""
    length: int | None = Field(default=None, ge=1, le=4096)
    """Length of a vector."""
    mask: Mask | None = None
    """Mask that hides it in training; null = `profile` for columns of users, `device` for those of the context."""
    filter: bool = False
    """Whether requests may filter by it."""
    answer: bool = False
    """Whether answers show it."""
    nullable: bool = True
    """Whether rows and files may lack it."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.source not in (None, *_SOURCES[self.side]):
            raise ValueError(
                f"{self.name}: source={self.source} has no {self.side} features; expected one of "
                f"{', '.join(_SOURCES[self.side])}"
            )
        self._check_encoding()
        self._check_numbers()
        self._check_within()
        if (self.length is None) == (self.kind is FeatureKind.VECTOR):
            raise ValueError(
                f"{self.name}: length={self.length} with kind={self.kind}; a vector needs its length, and "
                "nothing else has one"
            )
        is_derived = self.source == "derived" or self.kind in _COMPUTED
        if is_derived and (self.source, DERIVED.get(self.column_name)) != ("derived", (self.side, self.kind)):
            legal = ", ".join(f"{name} ({side}, {kind})" for name, (side, kind) in DERIVED.items())
            raise ValueError(
                f"{self.name}: nothing named {self.column_name!r} is derived as {self.side}, {self.kind}; "
                f"legal with source=derived: {legal}"
            )
        if self.kind is FeatureKind.LABEL and self.side is not Side.PAIR:
            raise ValueError(f"{self.name}: kind=label with side={self.side}; a label belongs to a pair")
        if self.mask is not None and self.side is not Side.QUERY:
            raise ValueError(f"{self.name}: mask={self.mask} with side={self.side}; only query features are masked")
        for option in ("filter", "answer"):
            if getattr(self, option) and (self.side is not Side.ITEM or self.kind not in _FILTERED):
                raise ValueError(
                    f"{self.name}: {option} with side={self.side}, kind={self.kind}; expected an item "
                    f"feature of kind {', '.join(_FILTERED)}"
                )
        return self

    def _check_encoding(self) -> None:
        legal = _ENCODINGS.get(self.kind, frozenset())
        encode = self.encode
        if other := sorted(encode.model_fields_set - legal):
            raise ValueError(
                f"{self.name}: a {self.kind} feature has no encoding {other[0]!r}; legal: "
                f"{', '.join(sorted(legal)) or 'none'}"
            )
        if encode.buckets is not None and encode.model_fields_set & {"min_count", "max_size", "share"}:
            raise ValueError(
                f"{self.name}: buckets={encode.buckets} hashes every category; take out min_count, max_size and share"
            )
        if encode.share is not None and encode.model_fields_set & {"min_count", "max_size"}:
            raise ValueError(
                f"{self.name}: share={encode.share} takes the vocabulary as it is; set min_count and max_size there"
            )
        if self.source == "derived" and self.vocabulary == self.name:
            raise ValueError(
                f"{self.name}: what is derived has no vocabulary of its own; name by encode.share the feature whose "
                "categories these are, or set encode.buckets"
            )
        if self.kind is FeatureKind.CYCLIC and (self.source == "derived") == (encode.period is not None):
            raise ValueError(
                f"{self.name}: encode.period={encode.period} with source={self.source}; a cyclic feature needs it, "
                "and what is derived has its own"
            )

    def _check_numbers(self) -> None:
        encode, (low, high) = self.encode, self.encode.clip
        if encode.bins is not None and (idle := sorted(encode.model_fields_set & {"fill", "missing_flag"})):
            raise ValueError(f"{self.name}: bins and {idle[0]} exclude each other; a bin of its own holds the missing")
        if isinstance(encode.bins, int) and encode.bins < 2:
            raise ValueError(f"{self.name}: bins={encode.bins}; expected 2 or more, or the edges between them")
        if isinstance(encode.bins, tuple) and (not encode.bins or list(encode.bins) != sorted(set(encode.bins))):
            raise ValueError(f"{self.name}: bins={list(encode.bins)} are not ascending edges")
        if low is not None and high is not None and low > high:
            raise ValueError(f"{self.name}: clip={[low, high]} has its lowest number above its highest")
        if encode.log == "natural" and isinstance(encode.fill, float) and encode.fill <= 0:
            raise ValueError(f"{self.name}: fill={encode.fill} has no natural logarithm; expected a number above 0")

    def _check_within(self) -> None:
        within = self.encode.within
        if within is None:
            return
        if self.side is not Side.ITEM:
            raise ValueError(
                f"{self.name}: within={within} with side={self.side}; only numbers of items are standardised within a "
                "category"
            )
        for option, legal in (("bins", None), ("standardise", True), ("fill", "mean")):
            if (got := getattr(self.encode, option)) != legal:
                raise ValueError(
                    f"{self.name}: {option}={got} with within={within}, which standardises numbers and fills missing "
                    f"ones with the mean of their category; take out {option}"
                )

    @property
    def origin(self) -> Source:
        """Where its column comes from."""
        return self.source or _SOURCES[self.side][0]

    @property
    def column_name(self) -> str:
        """Name of its column."""
        return self.column or self.name

    @property
    def hidden_with(self) -> Mask | None:
        """Mask that hides it in training; None = it is never hidden."""
        return self.mask if self.mask is not None else _MASK_OF.get(self.origin)

    @property
    def codes(self) -> tuple[str, ...]:
        """Names of its columns of encoded ids."""
        is_code = self.kind is FeatureKind.CATEGORICAL or (
            self.kind is FeatureKind.NUMERIC and self.encode.bins is not None
        )
        return (self.name,) if is_code else ()

    @property
    def numbers(self) -> tuple[str, ...]:
        """Names of its columns of numbers."""
        if self.kind is FeatureKind.CYCLIC:
            return f"{self.name}_sin", f"{self.name}_cos"
        if self.kind is FeatureKind.NUMERIC and self.encode.bins is None:
            return (self.name, f"{self.name}_missing") if self.encode.missing_flag else (self.name,)
        return ()

    @property
    def vocabulary(self) -> str | None:
        """Name of the vocabulary of its values; None = it has no vocabulary."""
        if self.kind not in (FeatureKind.CATEGORICAL, FeatureKind.CATEGORIES) or self.encode.buckets is not None:
            return None
        return self.encode.share or self.name
