"""Rows of Feast's online store in Redis, read and written without Feast (decision 8).

A user is one hash (`Keys.features`). One field a view tells the row's event time, the others are named by a hash of
view and feature and hold a serialized protobuf message `Value`, of which the views of this project use strings and
doubles. Tests hold every byte against Feast's own.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from typing import Final

import mmh3

from contracts.errors import StoreError
from contracts.features import FeatureViewSpec

_STRING: Final = 0x12
"""Tag of `Value.string_val`, field 2, with a length before its bytes."""
_DOUBLE: Final = 0x29
"""Tag of `Value.double_val`, field 5, eight bytes."""
_SECONDS: Final = 0x08
"""Tag of `Timestamp.seconds`, field 1, a varint; 0 is left out."""
_VARINT_BITS: Final = 7


def time_field(view: FeatureViewSpec) -> bytes:
    """The hash field of a view's event time; it is not empty where the view has a row."""
    return f"_ts:{view.name}".encode()


def value_field(view: FeatureViewSpec, name: str) -> bytes:
    """The hash field of a feature."""
    return struct.pack("<I", mmh3.hash(f"{view.name}:{name}", signed=False))


def string_fields(view: FeatureViewSpec, values: Mapping[str, str | None], event_timestamp: int) -> list[bytes]:
    """Hash fields and values in turn that write some string features of a view.

    Feast's own write takes whole rows and no condition.

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
        StoreError: it is something else.
    """
    if not value:
        return None
    start = 2
    while start < len(value) and value[start - 1] > 0x7F:  # the last byte of the length has no upper bit
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
        StoreError: it is something else.
    """
    if not value:
        return math.nan
    if value[0] != _DOUBLE or len(value) != 9:
        raise _no("double", value)
    found: float = struct.unpack_from("<d", value, 1)[0]
    return found


def _no(kind: str, value: bytes) -> StoreError:
    return StoreError(f"a feature cannot be read: expected a {kind}, got {value[:16]!r}; run the materialize job")


def _varint(number: int) -> bytes:
    parts = []
    while number >> _VARINT_BITS:
        parts.append(number & 0x7F | 0x80)
        number >>= _VARINT_BITS
    return bytes([*parts, number])
