"""The job lock: one run at a time works in a var folder."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from contracts.errors import RecommenderError

LOCK = "jobs.lock"


class LockedError(RecommenderError):
    """Another run works in the same var folder."""

    code = "locked"
    http_status = 409


@contextmanager
def job_lock(var_dir: Path, what: str) -> Iterator[None]:
    """Holds the lock of a var folder; the kernel frees it when the process ends, however it ends.

    Args:
        var_dir: the folder; made if it does not exist.
        what: name of the run, told to those who are refused.

    Raises:
        LockedError: somebody else holds it.
    """
    var_dir.mkdir(parents=True, exist_ok=True)
    with (var_dir / LOCK).open("a+", encoding="utf-8") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LockedError(
                f"{_holder(stream.name)} works in {var_dir} now; wait until it ends, or take another var_dir"
            ) from None
        stream.truncate(0)
        stream.write(json.dumps({"run": what, "pid": os.getpid()}))
        stream.flush()
        yield


def _holder(path: str) -> str:
    try:
        entry = json.loads(Path(path).read_text(encoding="utf-8"))
        return f"the run {entry['run']!r} (process {entry['pid']})"
    except (ValueError, KeyError):
        return "another run"
