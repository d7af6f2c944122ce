from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from training.embeddings.cache import VectorCache
from training.embeddings.encoders import VECTORS


def answers(*rows: tuple[str, list[float] | None, str | None]) -> pa.Table:
    return pa.Table.from_pylist([dict(zip(VECTORS.names, row, strict=True)) for row in rows], schema=VECTORS)


def test_an_empty_cache_misses_everything(tmp_path: Path) -> None:
    cache = VectorCache(tmp_path / "new")
    assert cache.missing(["a", "b"]).tolist() == [True, True]
    vectors, errors = cache.vectors(["a", None])
    assert vectors.shape == (2, 0)
    assert errors == [None, None]


def test_vectors_and_errors_come_back_in_the_order_asked(tmp_path: Path) -> None:
    cache = VectorCache(tmp_path)
    cache.append(answers(("a", [1.0, 2.0], None), ("b", None, "broken")))
    cache.append(answers(("c", [3.0, 4.0], None)))
    assert cache.missing(["b", "x", "c"]).tolist() == [False, True, False]
    vectors, errors = VectorCache(tmp_path).vectors(["c", None, "b", "a", "x", "c"])
    assert vectors.tolist() == [[3, 4], [0, 0], [0, 0], [1, 2], [0, 0], [3, 4]]
    assert errors == [None, None, "broken", None, None, None]


def test_appending_the_same_again_changes_nothing(tmp_path: Path) -> None:
    cache = VectorCache(tmp_path)
    for _ in range(2):
        cache.append(answers(("a", [1.0], None)))
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    assert len(list(tmp_path.iterdir())) == 1
