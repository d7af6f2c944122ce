from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from contracts.files import (
    atomic_dir,
    atomic_file,
    make_private,
    private_folder,
    private_opener,
    private_process,
    write_atomic,
)


def modes(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mode & 0o777 for path in folder.rglob("*")}


@pytest.fixture
def open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


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


def test_what_is_written_is_private_whatever_the_umask(tmp_path: Path, open_umask: None) -> None:
    write_atomic(tmp_path / "new" / "deep" / "file.json", "1")
    with atomic_dir(tmp_path / "other" / "out") as folder:
        (folder / "inner").mkdir()
        (folder / "inner" / "file").write_text("by a library that knows nothing of this")
    private_folder(tmp_path / "a" / "b")
    with open(tmp_path / "a" / "log", "a", opener=private_opener) as stream:
        stream.write("line")
    assert modes(tmp_path) == {
        "new": 0o700,
        "new/deep": 0o700,
        "new/deep/file.json": 0o600,
        "other": 0o700,
        "other/out": 0o700,
        "other/out/inner": 0o700,
        "other/out/inner/file": 0o600,
        "a": 0o700,
        "a/b": 0o700,
        "a/log": 0o600,
    }


def test_what_was_open_to_others_is_closed_and_folders_above_are_left_alone(tmp_path: Path, open_umask: None) -> None:
    (tmp_path / "shared" / "ours").mkdir(parents=True)
    (tmp_path / "shared" / "ours" / "log").touch()
    private_folder(tmp_path / "shared" / "ours")
    os.close(private_opener(tmp_path / "shared" / "ours" / "log", os.O_RDWR))
    assert modes(tmp_path) == {"shared": 0o777, "shared/ours": 0o700, "shared/ours/log": 0o600}
    (tmp_path / "outside").touch()
    (tmp_path / "shared" / "link").symlink_to(tmp_path / "outside")
    make_private(tmp_path / "shared")
    assert modes(tmp_path)["shared"] == 0o700
    assert modes(tmp_path)["outside"] == 0o666


def test_a_private_process_writes_private_files(tmp_path: Path, open_umask: None) -> None:
    private_process()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").touch()
    assert modes(tmp_path) == {"folder": 0o700, "folder/file": 0o600}
