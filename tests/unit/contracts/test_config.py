from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from pydantic import model_validator

from contracts.config import StrictConfig, load_config, override_values
from contracts.errors import ConfigError


class Inner(StrictConfig):
    depth: int = 1
    """How deep."""
    width: int = 1
    """How wide, at most the depth."""

    @model_validator(mode="after")
    def _no_wider_than_deep(self) -> Inner:
        if self.width > self.depth:
            raise ValueError(f"width={self.width} is above depth={self.depth}")
        return self


class Outer(StrictConfig):
    name: str
    """What it is called."""
    inner: Inner = Inner()
    """What is inside."""
    sizes: tuple[int, ...] = ()
    """Sizes."""
    other: Inner | None = None
    """Perhaps another one inside."""
    rings: tuple[int | Literal["all"], ...] = ()
    """Numbers of rings, or all."""


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_values_overrides_and_defaults(tmp_path: Path) -> None:
    path = write(tmp_path / "a.yaml", "name: shop\ninner:\n  depth: 3\n")
    config = load_config(Outer, path, ["sizes=[1, 2]", "inner.depth=5"])
    assert config == Outer(name="shop", inner=Inner(depth=5), sizes=(1, 2))


def test_a_file_extends_another_key_by_key(tmp_path: Path) -> None:
    write(tmp_path / "base.yaml", "name: base\ninner:\n  depth: 3\nsizes: [1]\n")
    path = write(tmp_path / "top.yaml", "extends: base.yaml\nname: top\n")
    assert load_config(Outer, path) == Outer(name="top", inner=Inner(depth=3), sizes=(1,))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("/srv/shop #1", "/srv/shop #1"),  # comments are for files
        ("#1", "#1"),
        ("7 # seven", "7 # seven"),
        ("'a' # b", "'a' # b"),
        ("'a #b'", "a #b"),
        ("/srv/#1?/50%", "/srv/#1?/50%"),
        ("{a: [1, 'x #2']}", {"a": [1, "x #2"]}),
        ("7", 7),
        (" yes ", True),
        ("", None),
    ],
)
def test_a_value_of_the_command_line_is_whole(text: str, value: object) -> None:
    assert override_values([f"a.b={text}"]) == {"a": {"b": value}}


@pytest.mark.parametrize(
    ("text", "overrides", "message"),
    [
        ("nam: x\nname: y\n", [], r"a.yaml: unknown key 'nam'; legal keys: inner, name, other, rings, sizes"),
        ("name: y\ninner:\n  dept: 1\n", [], r"unknown key 'inner.dept'; legal keys: depth, width"),
        ("name: y\ninner:\n  depth: deep\n", [], r"inner.depth: .*integer.* \(got 'deep'\)"),
        ("name: y\nother:\n  dept: 1\n", [], r"unknown key 'other.dept'; legal keys: depth, width"),
        ("name: y\ninner:\n  width: 2\n", [], r"a.yaml: inner: width=2 is above depth=1$"),
        ("name: y\nrings: [1, few]\n", [], r"a.yaml: rings.1: .*integer.* \(got 'few'\) or: .*'all' \(got 'few'\)$"),
        ("name: y\nother: 5\n", [], r"a.yaml: other: .*Inner.* \(got 5\)$"),
        ("{}\n", [], r"name: Field required"),
        ("- a\n", [], r"holds a list, expected a mapping"),
        ("a: [\n", [], r"is not valid YAML"),
        ("[" * 20_000, [], r"is not valid YAML"),
        ("a: " + "1" * 5_000, [], r"is not valid YAML"),
        ("name: y\n", ["sizes"], r"override 'sizes' is not of the form key=value"),
        ("name: y\n", ["name.first=x"], r"'name' is a value, not a section"),
        ("name: y\n", ["sizes=[1"], r"override of 'sizes': the value is not valid YAML"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(Outer, write(tmp_path / "a.yaml", text), overrides)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no config file at .*nowhere\.yaml"):
        load_config(Outer, tmp_path / "nowhere.yaml")


def test_configs_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Inner().depth = 2  # type: ignore[misc]
