from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.vocabulary import SMALL, Vocabulary

TEXTS = st.text(max_size=4)
TOKENS = st.lists(TEXTS.filter(lambda text: text != "\x00"), unique=True)


@contextmanager
def all_are_large() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("contracts.vocabulary.SMALL", -1)
        yield


@pytest.fixture
def large() -> Iterator[None]:
    with all_are_large():
        yield


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@given(TOKENS, st.lists(TEXTS | st.none()), st.lists(TEXTS.filter(lambda text: text != "\x00") | st.none()))
def test_a_large_vocabulary_agrees_with_a_small_one(
    tokens: list[str], values: list[str | None], more: list[str | None]
) -> None:
    small = Vocabulary(tokens)
    with all_are_large(), TemporaryDirectory() as folder:
        stem = Path(folder) / "user.id"
        Vocabulary(tokens).save(stem)
        large = Vocabulary.open(stem)
        assert (small.is_small, large.is_small) == (True, False)
        for one, other in ((small, large), (small.grow(more), large.grow(more))):
            assert one == other
            assert list(one.tokens) == list(other.tokens)
            asked = [*tokens, *values, *more]
            assert one.encode(asked).tolist() == other.encode(asked).tolist()
            assert [one.encode_one(value) for value in asked] == one.encode(asked).tolist()


@given(TOKENS)
def test_a_small_vocabulary_comes_back(tokens: list[str]) -> None:
    with TemporaryDirectory() as folder:
        Vocabulary(tokens).save(Path(folder) / "gender")
        opened = Vocabulary.open(Path(folder) / "gender")
        assert opened.tokens == tuple(tokens)
        assert sorted(contents(Path(folder))) == ["gender.data.npy", "gender.offsets.npy"]


def test_beyond_the_limit_tokens_are_mapped(tmp_path: Path) -> None:
    tokens = [f"user-{number:05}" for number in range(SMALL + 1)]
    assert Vocabulary(tokens[1:]).is_small
    grown = Vocabulary(tokens[1:]).grow(tokens)
    assert not grown.is_small
    assert grown.encode(["user-00001", "user-00000", "user-50000", "user"]).tolist() == [1, SMALL + 1, SMALL, 0]
    Vocabulary(tokens).save(tmp_path / "user_id")
    opened = Vocabulary.open(tmp_path / "user_id")
    assert opened.encode(tokens).tolist() == list(range(1, SMALL + 2))
    assert isinstance(opened.tokens[7:9], tuple)
    assert opened.tokens[7:9] == ("user-00007", "user-00008")


@pytest.mark.usefixtures("large")
def test_equal_vocabularies_have_equal_files(tmp_path: Path) -> None:
    built, grown = Vocabulary(("b", "d", "a", "c")), Vocabulary(("b", "d")).grow(["c", "a"])
    built.save(tmp_path / "built/x")
    grown.save(tmp_path / "grown/x")
    Vocabulary.open(tmp_path / "built/x").save(tmp_path / "opened/x")
    assert contents(tmp_path / "built") == contents(tmp_path / "grown") == contents(tmp_path / "opened")
    assert sorted(contents(tmp_path / "built")) == ["x.data.npy", "x.index.npy", "x.offsets.npy"]


@pytest.mark.usefixtures("large")
def test_a_mapped_vocabulary_cannot_be_written_to_and_travels(tmp_path: Path) -> None:
    Vocabulary(("b", "a")).save(tmp_path / "x")
    opened = Vocabulary.open(tmp_path / "x")
    assert not opened.tokens.slots.flags.writeable  # type: ignore[attr-defined]
    assert not opened.tokens.column.data.flags.writeable  # type: ignore[attr-defined]
    shipped = pickle.loads(pickle.dumps(opened))
    assert shipped == opened
    assert shipped.encode(["a", "b", "c"]).tolist() == [2, 1, 0]
    assert opened.grow(["a"]) is opened


FILES = ("offsets", "data", "index")


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("part", FILES)
@pytest.mark.parametrize("kept", [-1, 130, 40, 0])
def test_a_file_that_is_cut_off_is_refused(tmp_path: Path, part: str, kept: int) -> None:
    Vocabulary(("b", "aa")).save(tmp_path / "x")
    path = tmp_path / f"x.{part}.npy"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match=r"vocabulary '.*/x' cannot be used: "):
        Vocabulary.open(tmp_path / "x")


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("part", FILES)
def test_a_file_that_is_missing_is_refused_by_name(tmp_path: Path, part: str) -> None:
    Vocabulary(("b", "aa")).save(tmp_path / "x")
    (tmp_path / f"x.{part}.npy").unlink()
    with pytest.raises(ValueError, match=rf"cannot be used: .*No such file.*x\.{part}\.npy"):
        Vocabulary.open(tmp_path / "x")


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize(
    ("part", "tokens"), [("offsets", "ab"), ("data", "ab"), ("index", "ab"), ("index", ("b", "c"))]
)
def test_files_of_another_vocabulary_are_refused(tmp_path: Path, part: str, tokens: Sequence[str]) -> None:
    Vocabulary(("b", "aa", "c")).save(tmp_path / "x")
    Vocabulary(tuple(tokens)).save(tmp_path / "y")
    (tmp_path / f"y.{part}.npy").replace(tmp_path / f"x.{part}.npy")
    message = "the index has" if part == "index" else "the offsets do not span the"
    with pytest.raises(ValueError, match=f"cannot be used: {message}"):
        Vocabulary.open(tmp_path / "x")


def test_files_that_hold_no_distinct_texts_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "x.offsets.npy", np.array([0, 1, 2]))
    for content, message in ((b"aa", "token 'a' occurs twice"), (b"a\x00", "expected text"), (b"a\xff", "utf-8")):
        np.save(tmp_path / "x.data.npy", np.frombuffer(content, dtype=np.uint8))
        with pytest.raises(ValueError, match=f"vocabulary '.*/x' cannot be used: .*{message}"):
            Vocabulary.open(tmp_path / "x")
