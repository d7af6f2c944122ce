"""Writing files and folders so that nobody ever sees half of one, and other users of the machine see none.

What the project writes is private: files are 0600 and folders 0700, whatever the umask is.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_FILE: Final = 0o600
_FOLDER: Final = 0o700
_OTHERS: Final = 0o077


def private_process() -> None:
    """Whatever this process and its children write from now on, also by libraries, is private; for entry points."""
    os.umask(_OTHERS)


def private_folder(path: Path) -> Path:
    """Makes a folder and those that are missing above it; one that exists is closed to others.

    Raises:
        OSError: it cannot be made, or is open to others and belongs to somebody else.
    """
    make_folders(path)
    mode = path.stat().st_mode
    if mode & _OTHERS and not mode & stat.S_ISVTX:  # a common one, such as /tmp, stays as it is
        path.chmod(_FOLDER)
    return path


def is_private(folder: Path) -> bool:
    """Whether a folder belongs to this user and is closed to all others."""
    found = folder.stat()
    return found.st_uid == os.getuid() and not found.st_mode & _OTHERS


def private_opener(path: str | Path, flags: int) -> int:
    """Opens a file, a new one for its owner alone; one that exists is closed to others.

    It is an `opener` of the builtin `open`, and stands for `os.open`.
    """
    descriptor = os.open(path, flags, _FILE)
    if os.fstat(descriptor).st_mode & _OTHERS:
        os.fchmod(descriptor, _FILE)
    return descriptor


def make_private(folder: Path) -> None:
    """Closes a folder and everything in it to others, whoever wrote it there; links are left alone."""
    folder.chmod(_FOLDER)
    for path in folder.rglob("*"):
        if not path.is_symlink():
            path.chmod(_FOLDER if path.is_dir() else _FILE)


def make_folders(path: Path) -> None:
    """Makes what is missing of a path, for its owner alone; folders that exist are left as they are."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir(_FOLDER, exist_ok=True)


@contextmanager
def atomic_dir(target: Path) -> Iterator[Path]:
    """Yields an empty temporary sibling that becomes `target` when the block succeeds; on an error nothing is left.

    An existing `target` is replaced. The folder and all in it are private.
    """
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    private_folder(temporary)
    try:
        yield temporary
        make_private(temporary)
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
    """Yields an empty temporary sibling that replaces `target` when the block succeeds; on an error nothing is left.

    The file is private, and so are folders that are made for it.

    Args:
        target: the file.
        durable: whether the file, its name and new folders above it are on the disk when the block has been left, so
            that what it replaces may go.
    """
    missing = [folder for folder in (target.parent, *target.parent.parents) if durable and not folder.exists()]
    make_folders(target.parent)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    os.close(private_opener(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC))
    try:
        yield temporary
        if durable:
            sync(temporary)
        temporary.replace(target)
        if durable:
            for folder in (target.parent, *(new.parent for new in missing)):
                sync(folder)
    finally:
        temporary.unlink(missing_ok=True)


def sync(path: Path) -> None:
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
