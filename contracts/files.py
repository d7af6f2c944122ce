"""Writes files and folders atomically and privately.

Readers see a whole file or none. Files have mode 0600 and folders 0700, whatever the umask is.
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
    """Makes all files private that this process and its children write from now on; for entry points."""
    os.umask(_OTHERS)


def private_folder(path: Path) -> Path:
    """Makes a folder with its parents; an existing folder is closed to other users.

    Raises:
        OSError: the folder cannot be made, or is open to others and belongs to another user.
    """
    make_folders(path)
    mode = path.stat().st_mode
    if mode & _OTHERS and not mode & stat.S_ISVTX:  # a shared folder such as /tmp is left alone
        path.chmod(_FOLDER)
    return path


def is_private(folder: Path) -> bool:
    """Whether a folder belongs to this user and is closed to others."""
    found = folder.stat()
    return found.st_uid == os.getuid() and not found.st_mode & _OTHERS


def private_opener(path: str | Path, flags: int) -> int:
    """Opens a file that only its owner may read; an existing file is closed to others.

    Replaces `os.open`, also as `opener` of the builtin `open`.
    """
    descriptor = os.open(path, flags, _FILE)
    if os.fstat(descriptor).st_mode & _OTHERS:
        os.fchmod(descriptor, _FILE)
    return descriptor


def make_private(folder: Path) -> None:
    """Closes a folder and everything in it to others; links are left alone."""
    folder.chmod(_FOLDER)
    for path in folder.rglob("*"):
        if not path.is_symlink():
            path.chmod(_FOLDER if path.is_dir() else _FILE)


def make_folders(path: Path) -> None:
    """Makes a folder and its missing parents, private; existing folders are not changed."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir(_FOLDER, exist_ok=True)


@contextmanager
def atomic_dir(target: Path) -> Iterator[Path]:
    """Yields an empty temporary sibling folder that becomes `target` if the block succeeds; removed after an error.

    An existing `target` is replaced. The folder and its content are private.
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
    """Yields an empty temporary sibling that replaces `target` if the block succeeds; removed after an error.

    The file is private, and so are new folders above it.

    Args:
        target: the file.
        durable: whether to wait until the file, its name and new folders above it are on the disk.
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
    """Waits until a file, or the entries of a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomic(path: Path, text: str) -> None:
    """Replaces a text file in one step."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
