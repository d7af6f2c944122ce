from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ray_apps.lock import JOBS_LOCK, LockedError, folder_lock

HOLD = """
import sys, time
from pathlib import Path
from ray_apps.lock import folder_lock
with folder_lock(Path(sys.argv[1]), "pipeline"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_run_is_refused_and_told_who_works(tmp_path: Path) -> None:
    with folder_lock(tmp_path / JOBS_LOCK, "embed"):
        message = f"the run 'embed' (process {os.getpid()}) works in {tmp_path} now; wait until it ends"
        with pytest.raises(LockedError, match=re.escape(message)), folder_lock(tmp_path / JOBS_LOCK, "pipeline"):
            pass


def test_the_lock_is_free_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="stop"), folder_lock(tmp_path / JOBS_LOCK, "embed"):
        raise RuntimeError("stop")
    with folder_lock(tmp_path / JOBS_LOCK, "embed"):
        pass


def test_a_killed_run_leaves_no_lock(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / JOBS_LOCK)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    with holder, holder.stdout:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(LockedError, match=f"process {holder.pid}"), folder_lock(tmp_path / JOBS_LOCK, "embed"):
            pass
        holder.kill()
        holder.wait()
        with folder_lock(tmp_path / JOBS_LOCK, "embed"):
            pass
