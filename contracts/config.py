"""Strict configuration: a pydantic base, YAML files that hold values only, and `key=value` overrides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self, TypeVar, get_args

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic.fields import FieldInfo

from contracts.clock import day_to_name, name_to_day
from contracts.errors import ConfigError
from contracts.secrets import refuse_credentials

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

EXTENDS = "extends"
ShopName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
"""Prefix of bundle versions and of keys in the stores, and Feast's project."""


class StrictConfig(BaseModel):
    """Base of every config class: refuses unknown keys, is frozen, and documents fields by docstrings.

    Addresses must not hold credentials. Pydantic's errors do not show values; `validate` shows those of fields with
    repr=True.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        validate_default=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,
    )

    @model_validator(mode="after")
    def _no_credentials(self) -> Self:
        refuse_credentials(self.__dict__)
        return self


def _day_name(value: object) -> object:
    text = value.isoformat() if type(value) is date else value  # YAML reads a date
    if isinstance(text, str) and day_to_name(name_to_day(text)) != text:
        raise ValueError(f"{text!r} is not a date, expected YYYY-MM-DD")
    return text


DayName = Annotated[str, BeforeValidator(_day_name)]
"""A shop-local day, YYYY-MM-DD, as in the names of partitions."""
ConfigT = TypeVar("ConfigT", bound=StrictConfig)


def load_config(cls: type[ConfigT], path: str | Path, overrides: Sequence[str] = ()) -> ConfigT:
    """Reads a YAML file, applies `key=value` overrides and checks the result.

    A file may extend another one with `extends: other.yaml`, relative to itself; its own values win, key by key.

    Args:
        cls: the config class.
        path: the YAML file.
        overrides: `dotted.key=value` strings with YAML values.

    Raises:
        ConfigError: the file is missing or not a mapping, or a key or value is not legal.
    """
    values = read_values(Path(path))
    for override in overrides:
        _apply_override(values, override)
    return validate(cls, values, source=str(path))


def validate(cls: type[ConfigT], values: Mapping[str, object], *, source: str) -> ConfigT:
    """Builds a config from plain values; errors name the source, the key, the value and what is legal."""
    try:
        return cls.model_validate(dict(values))
    except ValidationError as error:
        reasons: dict[str, list[str]] = {}
        for entry in error.errors():
            where, reason = _explain(cls, values, entry)
            reasons.setdefault(where, []).append(reason)
        lines = [f"{where}: {' or: '.join(said)}" if where else "; ".join(said) for where, said in reasons.items()]
        raise ConfigError(f"{source}: " + "; ".join(lines)) from error


def read_values(path: Path) -> dict[str, object]:
    """Reads the plain values of a YAML file and of those that it extends."""
    if not path.is_file():
        raise ConfigError(f"no config file at {path}")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # not UTF-8, endless numbers, nested too deeply
        raise ConfigError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path} holds a {type(values).__name__}, expected a mapping of keys to values")
    parent = values.pop(EXTENDS, None)
    return values if parent is None else merge(read_values(path.parent / str(parent)), values)


def merge(base: Mapping[str, object], top: Mapping[str, object]) -> dict[str, object]:
    """Merges `top` over `base`; nested mappings are merged key by key."""
    merged = dict(base)
    for key, value in top.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def override_values(overrides: Sequence[str]) -> dict[str, object]:
    """Parses `dotted.key=value` strings with YAML values into plain values.

    Raises:
        ConfigError: a string has another form.
    """
    values: dict[str, object] = {}
    for override in overrides:
        _apply_override(values, override)
    return values


def _apply_override(values: dict[str, object], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise ConfigError(f"override {override!r} is not of the form key=value, for example simulator.seed=7")
    *parents, last = key.split(".")
    target = values
    for name in parents:
        child = target.setdefault(name, {})
        if not isinstance(child, dict):
            raise ConfigError(f"override of {key!r}: {name!r} is a value, not a section")
        target = child
    try:
        target[last] = _yaml_value(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"override of {key!r}: the value is not valid YAML") from error


def _yaml_value(text: str) -> object:
    """Parses a YAML value without comments: on a command line "#" belongs to the value, for example to a path."""
    node = yaml.compose(text, yaml.SafeLoader)
    rest = text if node is None else text[node.end_mark.index :]
    return text if rest.strip() else yaml.safe_load(text)


def _explain(cls: type[BaseModel], values: Mapping[str, object], entry: ErrorDetails) -> tuple[str, str]:
    """The key of an error, empty if the message names it, and the message."""
    keys = _keys(values, entry["loc"])
    location = ".".join(map(str, keys))
    if entry["type"] == "extra_forbidden":
        return "", f"unknown key {location!r}; legal keys: {', '.join(sorted(_fields_at(cls, keys[:-1])))}"
    untold = entry["type"] == "missing" or isinstance(entry.get("input"), Mapping) or _is_hidden(cls, keys)
    got = "" if untold else f" (got {entry.get('input')!r})"
    return location, f"{entry['msg'].removeprefix('Value error, ')}{got}"


def _keys(values: object, location: Sequence[int | str]) -> tuple[int | str, ...]:
    """A location without the names that pydantic gives to the members of a union."""
    keys: list[int | str] = []
    for number, part in enumerate(location):
        if isinstance(values, Mapping):
            if part not in values and number < len(location) - 1:
                continue
            values = values.get(part)
        elif isinstance(values, Sequence) and isinstance(part, int):
            if part >= len(values):  # a validator made several entries of one
                return (*keys, *location[number:])
            values = values[part]
        elif isinstance(part, str):
            continue
        keys.append(part)
    return tuple(keys)


def _is_hidden(cls: type[BaseModel], location: Sequence[int | str]) -> bool:
    *parents, last = location or ("",)
    field = _fields_at(cls, parents).get(str(last))
    return field is not None and not field.repr


def _fields_at(cls: type[BaseModel], location: Sequence[int | str]) -> dict[str, FieldInfo]:
    current: object = cls
    for part in location:
        if isinstance(part, int):  # an index of a list; the annotation names the type of its entries
            continue
        field = getattr(current, "model_fields", {}).get(part)
        annotation = None if field is None else field.annotation
        current = next((kind for kind in (annotation, *get_args(annotation)) if hasattr(kind, "model_fields")), None)
    return dict(getattr(current, "model_fields", {}))
