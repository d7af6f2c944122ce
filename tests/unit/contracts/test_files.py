from __future__ import annotations

from pathlib import Path

import pytest

from contracts.files import atomic_dir, write_atomic


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
