"""Lines that many processes append: whole, in a private file, or an error and the file as before."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from contracts.append_only import append_whole

_FULL = """
import resource, sys
from pathlib import Path
from contracts.append_only import append_whole
path = Path(sys.argv[1])
append_whole(path, b"whole\\n")
resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
try:
    append_whole(path, b"does not fit\\n", durable=True)
except OSError as error:
    print(error)
"""
_MANY = """
import sys
from pathlib import Path
from contracts.append_only import append_whole
for number in range(200):
    append_whole(Path(sys.argv[1]), b"%s-%d %s\\n" % (sys.argv[2].encode(), number, b"x" * 500))
"""


def test_a_line_of_which_only_a_part_fits_is_taken_back(tmp_path: Path) -> None:
    path = tmp_path / "log" / "lines"
    run = subprocess.run([sys.executable, "-c", _FULL, str(path)], capture_output=True, text=True, check=True)
    assert "took 4 of 13 bytes; make room on its disk" in run.stdout
    assert path.read_bytes() == b"whole\n"


def test_processes_do_not_disturb_each_other(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    writers = [subprocess.Popen([sys.executable, "-c", _MANY, str(path), name]) for name in "ab"]
    assert [writer.wait() for writer in writers] == [0, 0]
    lines = path.read_text().splitlines()
    assert {len(line) for line in lines} == {504, 505, 506}
    assert sorted(line.split()[0] for line in lines) == sorted(f"{name}-{n}" for name in "ab" for n in range(200))


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.touch(0o644)
    append_whole(path, b"one\n", durable=True)
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_end_of_a_line_that_was_cut_off_is_put_right(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b"hal")
    append_whole(path, b"one\n")
    assert path.read_bytes() == b"hal\none\n"


def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="is not a regular file; lines that must not be lost need one"):
        append_whole(tmp_path / "pipe", b"one\n")
