from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.bloom import MAX_FILTERS, RingLayout, item_hashes, num_words
from contracts.bloom_edit import RingEditor
from contracts.errors import StoreError

LAYOUT = RingLayout(error_rate=0.01, window_days=7)
DAY = 20_000
HASHES = item_hashes([f"item-{number}" for number in range(60_000)])


def seen(ring: bytes | None, items: list[int], today: int, layout: RingLayout = LAYOUT) -> list[bool]:
    owners = np.zeros(len(items), dtype=np.int64)
    return layout.open([ring], today).seen(HASHES[items], owners).tolist()


def add(ring: bytes | None, items: list[int], days: list[int], layout: RingLayout = LAYOUT) -> bytes:
    return RingEditor(layout).add(ring, HASHES[items].tolist(), days)


def build(owners: list[int], items: list[int], days: list[int], num_rings: int) -> list[bytes]:
    as_long = [np.array(values, dtype=np.int64) for values in (owners, days)]
    return LAYOUT.build(as_long[0], HASHES[items], as_long[1], num_rings)


def test_hashes_are_written_down_so_that_bundles_and_stores_of_different_releases_agree() -> None:
    # blake2b-128 of "item-1" is a509652c04ba757a 4886df463d56f908. The first half, little-endian, is the position; the
    # low bits 0xdf8648 of the second are, three at a time, the bit of each byte: 0 1 1 3 0 7 7 6.
    hashes = item_hashes(["item-1", "ä", ""])
    assert hashes.shape == (3, 2)
    assert hashes[0].tolist() == [0x7A75BA042C6509A5, 0x4080800108020201]


def test_hashes_are_the_same_in_another_process() -> None:
    code = "from contracts.bloom import item_hashes; print(item_hashes(['a', 'ä']).tolist())"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == str(item_hashes(["a", "ä"]).tolist())


def test_masks_have_one_bit_in_each_byte() -> None:
    lanes = HASHES[:, 1].astype("<u8").view(np.uint8).reshape(-1, 8)
    assert (np.bitwise_count(lanes) == 1).all()


def test_words_for_a_rate_by_hand() -> None:
    # one item, one word: Poisson(1) items n in the word hit with (1 - (7/8)^n)^8
    n = np.arange(60)
    log_factorial = np.array([np.log(np.arange(1, k + 1)).sum() for k in n])
    at_one = float(np.sum(np.exp(-1 - log_factorial) * (1 - (7 / 8) ** n) ** 8))
    assert num_words(1, at_one * 1.001) == 1
    assert num_words(1, at_one * 0.999) == 2


def test_a_ring_costs_what_the_subject_did() -> None:
    first, second = LAYOUT.filter_words[:2]
    head = 8 * (1 + 7)
    items = list(range(65))
    assert len(add(None, items[:1], [DAY])) == head + 8 * first
    assert len(add(None, items[:64], [DAY] * 64)) == head + 8 * first
    assert len(add(None, items, [DAY] * 65)) == head + 8 * (first + second)
    assert 8 * first < 256


def test_adding_the_same_again_changes_nothing() -> None:
    ring = add(None, [1, 2, 3], [DAY, DAY, DAY - 1])
    assert add(ring, [3, 2, 1, 1], [DAY - 1, DAY, DAY, DAY]) == ring


def test_an_item_leaves_with_its_day() -> None:
    ring = add(None, [1, 2], [DAY, DAY - 3])
    assert seen(ring, [1, 2, 3], DAY) == [True, True, False]
    assert seen(ring, [1, 2], DAY + 3) == [True, True]
    assert seen(ring, [1, 2], DAY + 4) == [True, False]
    assert seen(ring, [1, 2], DAY + 7) == [False, False]


def test_the_future_is_not_seen_yet() -> None:
    assert seen(add(None, [1], [DAY]), [1], DAY - 1) == [False]


def test_a_later_day_takes_the_slot_of_the_one_that_left_and_is_not_taken_back() -> None:
    ring = add(add(None, [1], [DAY]), [2], [DAY + 7])
    assert seen(ring, [1, 2], DAY + 7) == [False, True]
    assert add(ring, [3], [DAY]) == ring


def test_rings_are_asked_for_their_owners_only() -> None:
    rings = [add(None, [1], [DAY]), None, add(None, [2], [DAY])]
    owners = np.array([0, 1, 2, 2])
    assert LAYOUT.open(rings, DAY).seen(HASHES[[1, 1, 1, 2]], owners).tolist() == [True, False, False, True]


def test_no_rings_and_no_items() -> None:
    nothing = LAYOUT.open([], DAY).seen(HASHES[:0], np.zeros(0, dtype=np.int64))
    assert nothing.tolist() == []
    assert LAYOUT.open([add(None, [1], [DAY])], DAY).seen(HASHES[:0], np.zeros(0, dtype=np.int64)).tolist() == []
    assert build([], [], [], 0) == []


def test_built_and_added_rings_are_equal_where_no_filter_was_full() -> None:
    items, days = [5, 6, 7, 5, 6], [DAY, DAY, DAY - 2, DAY, DAY - 2]
    other_items, other_days = [8, 9], [DAY - 9, DAY - 1]
    built = build([0] * 5 + [2] * 2, items + other_items, days + other_days, 3)
    assert built[0] == add(None, items, days)
    assert built[2] == add(None, other_items, other_days)
    assert seen(built[1], items, DAY) == [False] * 5


events = st.lists(st.tuples(st.integers(0, 400), st.integers(DAY - 20, DAY)), min_size=1, max_size=400)


@given(events, st.integers(0, 10), st.booleans())
@settings(max_examples=60, deadline=None)
def test_no_false_negative_inside_the_window_and_nothing_of_older_days(
    pairs: list[tuple[int, int]], later: int, one_by_one: bool
) -> None:
    items, days = [item for item, _ in pairs], [day for _, day in pairs]
    if one_by_one:
        ring: bytes | None = None
        for item, day in pairs:
            ring = add(ring, [item], [day])
    else:
        [ring] = build([0] * len(pairs), items, days, 1)
    today = DAY + later
    inside = [item for item, day in pairs if today - 7 < day <= today]
    assert all(seen(ring, inside, today))
    if not inside:
        assert not any(seen(ring, items, today))


@pytest.mark.parametrize("per_day", [64, 448, 1000])
def test_the_false_positive_rate_is_of_the_union_and_near_the_configured(per_day: int) -> None:
    layout = RingLayout(error_rate=0.02, window_days=7)
    num_rings = 40 if per_day == 64 else 4
    rng = np.random.default_rng(0)
    items = np.concatenate([rng.permutation(20_000)[: 7 * per_day] for _ in range(num_rings)])
    owners = np.repeat(np.arange(num_rings), 7 * per_day)
    days = np.tile(np.repeat(np.arange(DAY - 6, DAY + 1), per_day), num_rings)
    rings = layout.open(layout.build(owners, HASHES[items], days, num_rings), DAY)
    unseen = np.tile(np.arange(20_000, 60_000), num_rings)
    rate = rings.seen(HASHES[unseen], np.repeat(np.arange(num_rings), 40_000)).mean()
    assert 0.005 < rate < 0.02


def test_beyond_its_last_filter_a_day_still_forgets_nothing() -> None:
    num_items = 64 * (2**MAX_FILTERS - 1) + 500
    items, days = list(range(num_items)), [DAY] * num_items
    [built] = build([0] * num_items, items, days, 1)
    assert len(built) == 8 * (8 + int(LAYOUT.filter_words.sum()))
    assert all(seen(built, items, DAY))
    added = add(add(None, items[:-500], days[:-500]), items[-500:], days[-500:])
    assert all(seen(added, items, DAY))


def test_another_layout_is_refused() -> None:
    ring = add(None, [1], [DAY])
    other = RingLayout(error_rate=0.001, window_days=7)
    with pytest.raises(StoreError, match="window or the error rate was changed; run the materialize job"):
        other.open([ring], DAY)
    with pytest.raises(StoreError, match="run the materialize job"):
        RingEditor(other).add(ring, HASHES[:1].tolist(), [DAY])


def test_a_cut_ring_is_refused() -> None:
    ring = add(None, [1], [DAY])
    for damaged in (ring[:-8], ring[:-1], ring + b"x"):
        with pytest.raises(StoreError, match="damaged: its length does not fit its counts"):
            LAYOUT.open([ring, damaged, ring], DAY)


def test_days_after_the_last_one_are_taken_from_the_other_ring() -> None:
    edit = RingEditor(LAYOUT)
    base, ring = add(None, [1, 2], [DAY - 1, DAY]), add(None, [3, 4, 5], [DAY - 1, DAY + 1, DAY])
    both = edit.newer_days(base, ring, last_day=DAY)
    assert seen(both, [1, 2, 3, 4, 5], DAY + 1) == [True, True, False, True, False]
    assert edit.num_items(both) == {DAY - 1: 1, DAY: 1, DAY + 1: 1}
    assert edit.newer_days(base, None, last_day=DAY) == base
    assert edit.num_items(edit.newer_days(None, ring, last_day=DAY + 1)) == {}
