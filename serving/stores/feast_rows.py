"""Rows of Feast's online store in Redis, read and written without Feast (decision 8).

A user is one hash (`Keys.features`). One field a view holds the row's event time. The other fields are named by a hash
of view and feature, and hold a serialized protobuf message `Value`: here a string, a double, or a list of strings or
floats. Tests compare every byte with Feast's own.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from typing import Final, NoReturn

import mmh3
import numpy as np

from contracts.errors import StoreError
from contracts.features import FeatureViewSpec
from contracts.ids import FloatArray

_STRING: Final = 0x12
"""Tag of `Value.string_val`, field 2, with a length before its bytes."""
_DOUBLE: Final = 0x29
"""Tag of `Value.double_val`, field 5, eight bytes."""
_STRINGS: Final = 0x62
"""Tag of `Value.string_list_val`, field 12, a message of repeated strings with the tag `_ELEMENT`."""
_FLOATS: Final = b"\x82\x01"
"""Tag of `Value.float_list_val`, field 16, a message of packed floats with the tag `_ELEMENT`."""
_ELEMENT: Final = 0x0A
"""Tag of field 1, with a length before its bytes."""
_SECONDS: Final = 0x08
"""Tag of `Timestamp.seconds`, field 1, a varint; 0 is left out."""
_VARINT_BITS: Final = 7


def time_field(view: FeatureViewSpec) -> bytes:
    """The hash field of a view's event time; it is set if the view has a row."""
    return f"_ts:{view.name}".encode()


def value_field(view: FeatureViewSpec, name: str) -> bytes:
    """The hash field of a feature."""
    return struct.pack("<I", mmh3.hash(f"{view.name}:{name}", signed=False))


def string_fields(view: FeatureViewSpec, values: Mapping[str, str | None], event_timestamp: int) -> list[bytes]:
    """Alternating hash fields and values that write string features of a view.

    Feast itself can only write whole rows, and not conditionally.

    Args:
        view: the feature view.
        values: by feature; None = no value.
        event_timestamp: Unix seconds of the row.
    """
    pairs = [time_field(view), bytes([_SECONDS]) + _varint(event_timestamp) if event_timestamp else b""]
    for name, value in values.items():
        content = b"" if value is None else value.encode()
        pairs += [value_field(view, name), b"" if value is None else bytes([_STRING]) + _varint(len(content)) + content]
    return pairs


def text(value: bytes | None) -> str | None:
    """A string feature; None = no value.

    Raises:
        StoreError: the value is of another kind.
    """
    if not value:
        return None
    start = 2
    while start < len(value) and value[start - 1] > 0x7F:  # the last byte of a varint has its upper bit clear
        start += 1
    if value[0] != _STRING or value[1:start] != _varint(len(value) - start):
        raise _no("string", value)
    try:
        return value[start:].decode()
    except UnicodeDecodeError:
        raise _no("string", value) from None


def number(value: bytes | None) -> float:
    """A double feature; NaN = no value.

    Raises:
        StoreError: the value is of another kind.
    """
    if not value:
        return math.nan
    if value[0] != _DOUBLE or len(value) != 9:
        raise _no("double", value)
    found: float = struct.unpack_from("<d", value, 1)[0]
    return found


def texts(value: bytes | None) -> tuple[str, ...] | None:
    """A feature of strings; None = no value.

    Raises:
        StoreError: the value is of another kind.
    """
    if not value:
        return None
    try:
        content, found = _content(value, 1) if value[0] == _STRINGS else _refuse("list of strings", value), []
        while content:
            if content[0] != _ELEMENT:
                _refuse("list of strings", value)
            start, end = _span(content, 1)
            found.append(content[start:end].decode())
            content = content[end:]
        return tuple(found)
    except (IndexError, UnicodeDecodeError):
        raise _no("list of strings", value) from None


def vector(value: bytes | None, length: int) -> FloatArray:
    """A feature of floats [length] float32; zeros = no value.

    Raises:
        StoreError: the value is of another kind or length.
    """
    if not value:
        return np.zeros(length, dtype=np.float32)
    kind = f"list of {length} floats"
    try:
        content = _content(value, 2) if value[:2] == _FLOATS else _refuse(kind, value)
        start, end = _span(content, 1)
    except IndexError:
        raise _no(kind, value) from None
    if content[0] != _ELEMENT or end != len(content) or end - start != 4 * length:
        _refuse(kind, value)
    return np.frombuffer(content[start:end], dtype="<f4").astype(np.float32)


def _content(value: bytes, tag_bytes: int) -> bytes:
    """The bytes of the message at the end of a value."""
    start, end = _span(value, tag_bytes)
    if end != len(value):
        _refuse("list", value)
    return value[start:end]


def _span(value: bytes, place: int) -> tuple[int, int]:
    """Start and end of the bytes that follow a length at a place."""
    length = shift = 0
    while True:
        byte = value[place]
        length |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + _VARINT_BITS
        if byte <= 0x7F:
            break
    if place + length > len(value):
        _refuse("list", value)
    return place, place + length


def _refuse(kind: str, value: bytes) -> NoReturn:
    raise _no(kind, value)


def _no(kind: str, value: bytes) -> StoreError:
    return StoreError(f"a feature cannot be read: expected a {kind}, got {value[:16]!r}; run the materialize job")


def _varint(number: int) -> bytes:
    parts = []
    while number >> _VARINT_BITS:
        parts.append(number & 0x7F | 0x80)
        number >>= _VARINT_BITS
    return bytes([*parts, number])
