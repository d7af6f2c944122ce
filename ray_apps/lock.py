"""Locks of a var folder: one run of jobs and one server at a time."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from contracts.errors import RecommenderError
from contracts.files import private_folder, private_opener

JOBS_LOCK = "jobs.lock"
SERVER_LOCK = "server.lock"


class LockedError(RecommenderError):
    """Another run works in the same var folder."""

    code = "locked"
    http_status = 409


@contextmanager
def folder_lock(path: Path, what: str) -> Iterator[None]:
    """Holds a lock file; the kernel frees it when the process ends, however it ends.

    Args:
        path: the file; created with its folder if missing.
        what: name of the run, for the error of a second one.

    Raises:
        LockedError: another process holds it.
    """
    private_folder(path.parent)
    with open(path, "a+", encoding="utf-8", opener=private_opener) as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LockedError(
                f"{_holder(path)} works in {path.parent} now; wait until it ends, or take another var_dir"
            ) from None
        stream.truncate(0)
        stream.write(json.dumps({"run": what, "pid": os.getpid()}))
        stream.flush()
        yield


def _holder(path: Path) -> str:
    try:
        entry = json.loads(path.read_text(encoding="utf-8"))
        return f"the run {entry['run']!r} (process {entry['pid']})"
    except (ValueError, KeyError):
        return "another run"
