from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.strings import StringColumn

VALUES = st.lists(st.text(max_size=4).filter(lambda text: text != "\x00") | st.none())


def test_a_column_is_offsets_and_bytes() -> None:
    column = StringColumn.pack(["a", None, "", "ä"])
    assert column.offsets.tolist() == [0, 1, 2, 2, 4]
    assert column.data.tolist() == [0x61, 0, 0xC3, 0xA4]
    assert list(column.encoded()) == [b"a", b"\x00", b"", b"\xc3\xa4"]


@given(VALUES, VALUES, st.integers(1, 4))
def test_strings_come_back_whatever_the_block(values: list[str | None], more: list[str | None], block: int) -> None:
    whole = StringColumn.pack(values)
    with pytest.MonkeyPatch.context() as patch, TemporaryDirectory() as folder:
        patch.setattr("contracts.strings._BLOCK", block)
        packed = StringColumn.pack(values)
        assert packed.offsets.tolist() == whole.offsets.tolist()
        packed.save(Path(folder) / "new/x.y")
        opened = StringColumn.open(Path(folder) / "new/x.y")
        assert opened.fault() is None
        assert list(opened) == [opened[row] for row in range(len(opened))] == values
        assert list(opened.extended(more)) == [*values, *more]


def test_half_of_a_surrogate_pair_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"'a\\ud800' holds half of a surrogate pair, for which UTF-8 has no bytes"):
        StringColumn.pack(["b", "a\ud800"])


@pytest.mark.parametrize(
    ("offsets", "data", "message"),
    [
        (np.array([0, 1], np.int32), b"a", "offsets are int32 and data uint8, expected int64 and uint8, both flat"),
        (np.array([[0, 1]]), b"a", "offsets are int64 and data uint8, expected int64 and uint8, both flat"),
        (np.array([], np.int64), b"", "the offsets do not span the 0 bytes of the data"),
        (np.array([0, 2]), b"a", "the offsets do not span the 1 bytes of the data"),
        (np.array([0, 2, 1, 2]), b"ab", "the offsets do not grow"),
    ],
)
def test_arrays_that_are_no_column_have_a_fault(offsets: np.ndarray, data: bytes, message: str) -> None:
    assert StringColumn(offsets, np.frombuffer(data, dtype=np.uint8)).fault() == message
