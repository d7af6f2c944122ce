"""Contexts of requests and events: the values of a shop's declared columns, as tables and models have them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from contracts import columns as c
from contracts.feature import Feature, FeatureKind
from contracts.messages import ContextValue
from contracts.schema import FeatureSchema


class ContextReader:
    """Reads contexts that were checked by the shop's types.

    Args:
        schema: of the shop.
    """

    def __init__(self, schema: FeatureSchema) -> None:
        declared = [one for one in schema.read_from("context") if one.column_name != c.DEVICE_TYPE]
        self._readers = {feature.column_name: _reader(feature) for feature in declared}
        self._unknown = {feature.column_name: _unknown(feature) for feature in declared}

    def told(self, context: Any) -> dict[str, ContextValue] | None:
        """What a context tells, by column; None where it tells nothing."""
        if context is None:
            return None
        given = ((name, getattr(context, name)) for name in self._readers)
        return {name: self._readers[name](value) for name, value in given if value is not None} or None

    def columns(self, contexts: Sequence[Mapping[str, ContextValue] | None]) -> dict[str, tuple[ContextValue, ...]]:
        """Raw values [B] by column of what B contexts tell; columns that none of them tells are left out."""
        names = {name for one in contexts if one for name in one}
        return {
            name: tuple(self._unknown[name] if one is None else one.get(name, self._unknown[name]) for one in contexts)
            for name in sorted(names)
        }


def _reader(feature: Feature) -> Callable[[Any], ContextValue]:
    return _READERS.get(feature.kind, float)


def _unknown(feature: Feature) -> ContextValue:
    """What stands for a value that was not told."""
    return (0.0,) * (feature.length or 0) if feature.kind is FeatureKind.VECTOR else None


def _names(values: Sequence[Any]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(map(c.category_text, values)))


_READERS: Final[Mapping[FeatureKind, Callable[[Any], ContextValue]]] = {
    FeatureKind.CATEGORICAL: c.category_text,
    FeatureKind.CATEGORIES: _names,
    FeatureKind.VECTOR: tuple,
}
