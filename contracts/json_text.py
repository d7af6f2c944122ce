"""Parses JSON from outside; refuses with a reason what standard parsers accept silently or crash on."""

from __future__ import annotations

import json
import math
from typing import NoReturn

from pydantic import JsonValue, ValidationError


def parse_json(content: bytes) -> JsonValue:
    """Parses a JSON text.

    Raises:
        ValueError: not UTF-8, not JSON, nested too deeply, a number that is not finite or has thousands of digits, or a
            repeated key.
    """
    try:
        value: JsonValue = json.loads(
            content.decode(), object_pairs_hook=_distinct, parse_constant=_no_number, parse_float=_finite
        )
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    return value


def parse_object(content: bytes) -> dict[str, JsonValue]:
    """Parses a JSON text that holds an object.

    Raises:
        ValueError: as `parse_json`, or the text holds something else.
    """
    values = parse_json(content)
    if not isinstance(values, dict):
        raise ValueError(f"it holds a {type(values).__name__}, expected an object")
    return values


def first_fault(error: ValueError) -> str:
    """A short description of an error: for a pydantic error only the first field, never the whole input."""
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg'].removeprefix('Value error, ')}"


def _distinct(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} is there twice")
    return values


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        _no_number(text[:20])
    return value


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a finite number")
