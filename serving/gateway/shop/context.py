"""Contexts of requests and events: values of the shop's declared columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from contracts import columns as c
from contracts.feature import Feature, FeatureKind
from contracts.messages import ContextValue
from contracts.schema import FeatureSchema

_Reader: TypeAlias = Callable[[Any], ContextValue]
"""Takes a value of the type that its column's kind has in requests."""


class ContextReader:
    """Reads contexts that the shop's types have checked.

    Args:
        schema: of the shop.
    """

    def __init__(self, schema: FeatureSchema) -> None:
        declared = [one for one in schema.read_from("context") if one.column_name != c.DEVICE_TYPE]
        self._readers = {feature.column_name: _reader(feature) for feature in declared}
        self._unknown = {feature.column_name: _unknown(feature) for feature in declared}

    def values(self, context: object) -> dict[str, ContextValue] | None:
        """Values of a context by column; None if there are none."""
        if context is None:
            return None
        values = ((name, getattr(context, name)) for name in self._readers)
        return {name: self._readers[name](value) for name, value in values if value is not None} or None

    def columns(self, contexts: Sequence[Mapping[str, ContextValue] | None]) -> dict[str, tuple[ContextValue, ...]]:
        """Raw values [B] by column; columns without a value in any of B contexts are left out."""
        names = {name for one in contexts if one for name in one}
        return {
            name: tuple(self._unknown[name] if one is None else one.get(name, self._unknown[name]) for one in contexts)
            for name in sorted(names)
        }


def _reader(feature: Feature) -> _Reader:
    return _READERS.get(feature.kind, float)


def _unknown(feature: Feature) -> ContextValue:
    """The value that stands for an unknown one."""
    return (0.0,) * (feature.length or 0) if feature.kind is FeatureKind.VECTOR else None


def _names(values: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(map(c.category_text, values)))


_READERS: Final[Mapping[FeatureKind, _Reader]] = {
    FeatureKind.CATEGORICAL: c.category_text,
    FeatureKind.CATEGORIES: _names,
    FeatureKind.VECTOR: tuple,
}
