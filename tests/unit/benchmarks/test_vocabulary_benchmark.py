from __future__ import annotations

from pathlib import Path

from benchmarks.vocabulary import build_and_save, hold_dictionary, open_and_ask


def test_every_part_is_measured(tmp_path: Path) -> None:
    stem = tmp_path / "user_id"
    figures = build_and_save(stem, 50_001) | open_and_ask(stem) | hold_dictionary(stem)
    assert {"build", "save", "open", "open, its own", "lookup, known", "dictionary, its own"} <= set(figures)
    assert figures["files"].value is not None
    assert figures["files"].value > 50_001 * 30 / 1e6  # 16 bytes of text, an offset of 8, and slots of 4
