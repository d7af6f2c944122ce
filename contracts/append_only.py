"""Files of lines that many processes append to: a line is there whole, or the writer is told that it is not."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from contracts.files import make_folders, private_opener, sync


def append_whole(path: Path, content: bytes, *, durable: bool = False) -> None:
    """Appends whole lines to a file that only its owner may read; on an error the file is as long as before.

    Writers exclude each other by a lock on the file, so that what one could write in part only is taken back before
    anybody else writes. A file that has been moved away is started anew.

    Args:
        path: the file; its folder is made where it is missing.
        content: lines, each with its end.
        durable: whether they are on the disk when this returns.

    Raises:
        OSError: the disk is full, the file is no regular one, or it cannot be written.
    """
    make_folders(path.parent)
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
    if path.exists() and not path.is_file():
        raise OSError(f"{path} is no regular file; lines that must not be lost need one")
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
