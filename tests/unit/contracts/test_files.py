from __future__ import annotations

import os
from pathlib import Path

import pytest

from contracts.files import atomic_dir, atomic_file, write_atomic


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "out"

    def fail_half_way() -> None:
        with atomic_dir(target) as folder:
            (folder / "a").write_text("half")
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        fail_half_way()
    assert list(tmp_path.iterdir()) == []
    with atomic_dir(target) as folder:
        (folder / "a").write_text("one")
        assert not target.exists()
    with atomic_dir(target) as folder:
        (folder / "b").write_text("two")
    assert [path.name for path in target.iterdir()] == ["b"]
    assert list(tmp_path.iterdir()) == [target]


def test_a_file_is_replaced_in_one_step(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.json"
    write_atomic(path, "1")
    write_atomic(path, "2")
    assert path.read_text() == "2"
    assert list(path.parent.iterdir()) == [path]


def test_a_durable_file_is_on_the_disk_before_its_name_and_its_name_before_anything_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut cannot be had here: the order of the calls is looked at."""
    target, calls = tmp_path / "new" / "day" / "file", []
    sync, replace = os.fsync, Path.replace

    def note_sync(descriptor: int) -> None:
        calls.append(("sync", Path(os.readlink(f"/proc/self/fd/{descriptor}")).name))
        sync(descriptor)

    def note_replace(path: Path, other: Path) -> Path:
        calls.append(("replace", other.name))
        return replace(path, other)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(Path, "replace", note_replace)
    with atomic_file(target, durable=True) as temporary:
        temporary.write_text("1")
    assert calls == [
        ("sync", temporary.name),
        ("replace", "file"),
        ("sync", "day"),
        ("sync", "new"),
        ("sync", tmp_path.name),
    ]
    assert target.read_text() == "1"
