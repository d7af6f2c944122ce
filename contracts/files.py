"""Writing folders so that nobody ever sees half of one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_dir(target: Path) -> Iterator[Path]:
    """Yields an empty temporary sibling that becomes `target` when the block succeeds; on an error nothing is left.

    An existing `target` is replaced.
    """
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        if target.exists():
            old = target.with_name(f".{target.name}.{os.getpid()}.old")
            target.rename(old)
            temporary.rename(target)
            shutil.rmtree(old)
        else:
            temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def atomic_file(target: Path, *, durable: bool = False) -> Iterator[Path]:
    """Yields a temporary sibling path that replaces `target` when the block succeeds; on an error nothing is left.

    Args:
        target: the file.
        durable: whether the file, its name and new folders above it are on the disk when the block has been left, so
            that what it replaces may go.
    """
    missing = [folder for folder in (target.parent, *target.parent.parents) if durable and not folder.exists()]
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        if durable:
            _sync(temporary)
        temporary.replace(target)
        if durable:
            for folder in (target.parent, *(new.parent for new in missing)):
                _sync(folder)
    finally:
        temporary.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Waits until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomic(path: Path, text: str) -> None:
    """Replaces a text file in one step."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
