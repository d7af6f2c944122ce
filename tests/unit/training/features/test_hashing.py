from __future__ import annotations

import numpy as np

from training.features.hashing import event_id_column, hash_strings, partitions_of


def test_partitions_are_the_same_everywhere() -> None:
    assert partitions_of(["u1", "u2", "käufer"], 16).tolist() == [6, 12, 3]
    assert partitions_of([], 4).tolist() == []
    assert np.bincount(partitions_of((f"u{n}" for n in range(4000)), 4)).min() > 900


def test_string_hashes_are_the_same_everywhere() -> None:
    assert [f"{value:016x}" for value in hash_strings(["", "u1"])] == ["b4b2797457a0a6e4", "d56a4e3f684d9992"]


def test_event_ids_are_16_digits_and_differ_with_each_column() -> None:
    columns = [np.array([7, 7, 7, 8]), np.array([1, 1, 2, 1]), np.array([0, -1, 0, 0])]
    ids = event_id_column(columns).to_pylist()
    assert len(set(ids)) == 4
    assert all(len(text) == 16 and int(text, 16) >= 0 for text in ids)
    assert event_id_column([column[::-1] for column in columns]).to_pylist() == ids[::-1]
    assert event_id_column([np.array([0])]).to_pylist() == ["e220a8397b1dcdaf"]  # SplitMix64's first number of seed 0


def test_columns_are_not_interchangeable() -> None:
    one, other = np.array([1]), np.array([2])
    assert event_id_column([one, other]) != event_id_column([other, one])
