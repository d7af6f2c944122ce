"""Files that several processes append lines to: a line is written whole, or its writer gets an error."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from contracts.files import make_folders, private_opener, sync


def append_whole(path: Path, content: bytes, *, durable: bool = False) -> None:
    """Appends whole lines to a file that only its owner may read; after an error the file is unchanged.

    Writers take a lock on the file, so that a partial write is undone before anybody else writes. If the file was
    moved away, a new one is started.

    Args:
        path: the file; a missing folder is made.
        content: lines, each with its newline.
        durable: whether to wait until the lines are on the disk.

    Raises:
        OSError: the disk is full, or the path is not a regular file or cannot be written.
    """
    make_folders(path.parent)
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
    if path.exists() and not path.is_file():
        raise OSError(f"{path} is not a regular file; lines that must not be lost need one")
    file = private_opener(path, flags)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        size = os.fstat(file).st_size
        if size and os.pread(file, 1, size - 1) != b"\n":  # a writer was killed, or its machine lost power
            content = b"\n" + content
        try:
            written = os.write(file, content)
            if written < len(content):
                raise OSError(f"{path} took {written} of {len(content)} bytes; make room on its disk")
            if durable:
                os.fsync(file)
                if not size:
                    sync(path.parent)
        except OSError:
            os.ftruncate(file, size)
            raise
    finally:
        os.close(file)
