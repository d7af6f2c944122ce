"""Finds the files of a table. No file is skipped silently: an unreadable one is an error or a warning with its name."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from contracts.clock import day_to_name, name_to_day
from contracts.columns import DAY
from contracts.errors import SchemaError

logger = logging.getLogger(__name__)

_ENDINGS: Final = (".parquet", ".pq", ".parq")
_MAGIC: Final = (b"PAR1", b"PARE")
_HIDDEN: Final = (".", "_")


def parquet_files(folder: Path) -> tuple[Path, ...]:
    """All Parquet files below a folder, sorted; recognized by their ending, in any case, or by their first bytes.

    Names that begin with "." or "_" are ignored, as usual for Parquet: such files are unfinished or metadata. Any other
    file is left out with a warning.

    Raises:
        SchemaError: a name is no UTF-8.
    """
    found: list[Path] = []
    others: list[Path] = []
    for path in sorted(_walk(folder, set())):
        (found if _is_parquet(path) else others).append(path)
    if others:
        logger.warning(
            "%s: %d files are no Parquet files and are not read, the first is %s; expected names that end with %s",
            folder,
            len(others),
            others[0],
            ", ".join(_ENDINGS),
        )
    return tuple(found)


def day_files(folder: Path) -> dict[int, tuple[Path, ...]]:
    """The Parquet files of each shop-local day that has a folder `day=YYYY-MM-DD`; a day may have none.

    Raises:
        SchemaError: a Parquet file lies elsewhere, or the name of a folder has no date.
    """
    days: dict[int, tuple[Path, ...]] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(_HIDDEN):
            continue
        if path.is_dir() and path.name.startswith(f"{DAY}="):
            days[_day(path)] = parquet_files(path)
        elif misplaced := parquet_files(path):
            raise SchemaError(
                f"{misplaced[0]} is in no folder of a day; expected {folder}/{DAY}=YYYY-MM-DD/, as {DAY}=2025-01-31; "
                "move it, or hide it by a name that begins with '_'"
            )
    return days


def _day(path: Path) -> int:
    text = path.name.removeprefix(f"{DAY}=")
    try:
        day = name_to_day(text)
    except ValueError as error:
        raise SchemaError(f"{path}: {text!r} is no date; expected {DAY}=YYYY-MM-DD, as {DAY}=2025-01-31") from error
    if day_to_name(day) != text:
        raise SchemaError(f"{path}: the date is written {text!r}, expected {day_to_name(day)!r}")
    return day


def _walk(path: Path, above: set[str]) -> Iterator[Path]:
    """A file itself, or the visible files below a folder, through links too."""
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise SchemaError(f"the name {str(path)!r} is no UTF-8; rename it") from error
    if not path.is_dir():
        yield path
    elif (real := os.path.realpath(path)) not in above:  # a link to a parent folder: its files are already found
        for entry in path.iterdir():
            if not entry.name.startswith(_HIDDEN):
                yield from _walk(entry, above | {real})


def _is_parquet(path: Path) -> bool:
    if path.suffix.lower() in _ENDINGS:
        return True
    if not path.is_file():  # reading a pipe would never end
        return False
    with path.open("rb") as stream:
        return stream.read(4) in _MAGIC
