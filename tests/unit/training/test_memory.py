"""One subject with most of the events: memory follows the events, not their square."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from contracts.clock import DAY_S
from tests.fixtures.events import event_table
from training.evaluation.baselines.item_to_item import BASELINES, user_item_gram
from training.evaluation.baselines.popularity import Popularity
from training.evaluation.config import EvaluationConfig
from training.evaluation.ranked import block_rows_for, rank_scores
from training.evaluation.test_day import test_day as collect
from training.features.events import EventTable
from training.features.point_in_time import top_categories

NUM_EVENTS, NUM_ITEMS, DAY = 100_000, 500, 20
MEGABYTE = 1 << 20


def heavy_subject(num_events: int = NUM_EVENTS, num_days: int = 7) -> EventTable:
    """One subject that has had everything, evenly over the days that end with the test day."""
    rng = np.random.default_rng(0)
    start, span = (DAY + 1 - num_days) * DAY_S, num_days * DAY_S
    times = start + np.arange(num_events, dtype=np.int64) * span // num_events
    return event_table([list(zip(times.tolist(), rng.integers(0, NUM_ITEMS, num_events).tolist(), strict=True))])


@contextmanager
def at_most(megabytes: int) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1] / MEGABYTE
    finally:
        tracemalloc.stop()
    assert peak < megabytes, f"{peak:.0f} MiB at the peak"


def test_evaluation_of_a_heavy_subject() -> None:
    """14,286 queries after up to 100,000 events each: as pairs of query and event they were 21 GB."""
    events, launched = heavy_subject(), np.zeros(NUM_ITEMS, dtype=np.int64)
    config = EvaluationConfig(max_filtered_events=100)
    with at_most(250):
        day = collect(events, DAY, launched, config)
        assert len(day) > 14_000
        block_rows = block_rows_for(NUM_ITEMS)
        rank_scores(Popularity(events, NUM_ITEMS, 3).blocks(day, block_rows), day, config.seed)
        for baseline in BASELINES.values():
            rank_scores(baseline().blocks(day, block_rows, config.item_to_item_refreshes), day, config.seed)


def test_point_in_time_features_of_a_heavy_subject_with_many_categories() -> None:
    events = heavy_subject(num_events=20_000)
    codes = events.item_row + 1
    with at_most(100):
        top_categories(codes.astype(np.int32), events.timestamp, events.day, events.offsets)


def test_the_gram_of_a_subject_that_had_everything_is_built_in_blocks() -> None:
    events = event_table([[(second, item) for second, item in enumerate(range(3_000))], [(1, 5)]])
    with at_most(3 * 3_000 * 3_000 * 4 // MEGABYTE):  # the result, a block and room
        gram = user_item_gram(events, np.ones(len(events), dtype=bool), 3_000)
    expected = np.ones((3_000, 3_000), dtype=np.float32)
    expected[5, 5] = 2
    np.testing.assert_array_equal(gram, expected)
