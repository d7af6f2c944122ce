from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from contracts.features import NUM_ITEM_AGE_BUCKETS, item_age_bucket
from contracts.ids import LongArray
from training.trainers.data import NOT_LAUNCHED, Batch, WorkerData, age_buckets
from training.trainers.steps import batches as batches_module
from training.trainers.steps.batches import Units, epoch_batches


def build(data: WorkerData, rows: LongArray, masked: bool = False) -> Batch:
    return data.batch(rows, history_length=4, history_days=30, masked=masked)


def test_a_batch_holds_the_rows_in_order(toy_data: WorkerData) -> None:
    rows = np.array([30, 5, 6])

    batch = build(toy_data, rows)

    assert batch.positives.tolist() == toy_data.events.item_row[rows].tolist()
    assert batch.now.tolist() == toy_data.events.timestamp[rows].tolist()
    assert batch.day.tolist() == [1, 2, 3]  # two events a day; subject 1 starts at row 28
    assert batch.queries.history_rows[0].tolist() == [*toy_data.events.item_row[[29, 28]].tolist(), -1, -1]
    assert batch.hidden.tolist() == toy_data.events.mask_item[rows].tolist()
    assert batch.label.tolist() == toy_data.events.label[rows].tolist()  # type: ignore[index]


def test_no_tensor_operation_computes_in_the_input_thread(toy_data: WorkerData) -> None:
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        build(toy_data, toy_data.train_rows)

    operations = {event.key for event in profile.key_averages() if event.key.startswith("aten::")}
    assert operations <= {"aten::lift_fresh", "aten::detach_", "aten::detach"}


def test_slices_of_a_batch_are_batches(toy_data: WorkerData) -> None:
    rows = np.arange(20)

    part = build(toy_data, rows).units(slice(5, 8))

    expected = build(toy_data, rows[5:8])
    torch.testing.assert_close(part.queries.columns.numbers, expected.queries.columns.numbers)
    assert part.positives.tolist() == expected.positives.tolist()
    assert len(part) == 3


def test_masks_are_for_training_only(toy_data: WorkerData) -> None:
    rows = np.flatnonzero(toy_data.events.mask)[:5]

    assert (build(toy_data, rows, masked=True).queries.columns.codes[:, 0] == 0).all()
    assert (build(toy_data, rows).queries.columns.codes[:, 0] > 0).all()


@pytest.mark.parametrize("num_batches", [1, 10, 11, 103])
def test_every_row_comes_once_an_epoch_in_batches_of_nearly_one_size(toy_data: WorkerData, num_batches: int) -> None:
    rows = toy_data.train_rows[:103]

    batches = list(
        epoch_batches(lambda part: build(toy_data, part), Units.of_rows(rows), num_batches, np.random.default_rng(0))
    )

    sizes = [len(batch) for batch in batches]
    assert len(sizes) == num_batches
    assert max(sizes) - min(sizes) <= 1
    keys = torch.cat([batch.now * 1_000 + batch.queries.columns.codes[:, 0] for batch in batches])
    assert len(set(keys.tolist())) == len(keys) == 103


def test_an_epoch_can_start_in_its_middle(toy_data: WorkerData, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches_module, "_CHUNK_ROWS", 50)  # three batches a chunk

    def positives(first: int) -> list[list[int]]:
        batches = epoch_batches(
            lambda part: build(toy_data, part), Units.of_rows(toy_data.train_rows), 61, np.random.default_rng(3), first
        )
        return [batch.positives.tolist() for batch in batches]

    assert len(positives(0)) == 61
    assert positives(4) == positives(0)[4:]


def test_an_error_of_the_input_thread_reaches_the_trainer(toy_data: WorkerData) -> None:
    def broken(rows: LongArray) -> Batch:
        raise KeyError("no such feature")

    with pytest.raises(KeyError, match="no such feature"):
        next(epoch_batches(broken, Units.of_rows(toy_data.train_rows), 16, np.random.default_rng(0)))


def test_the_input_thread_ends_when_the_trainer_stops_early(toy_data: WorkerData) -> None:
    batches = epoch_batches(
        lambda part: build(toy_data, part), Units.of_rows(toy_data.train_rows), 16, np.random.default_rng(0)
    )
    next(batches)

    batches.close()

    assert not any(thread.name == "input-path" for thread in threading.enumerate())


def test_age_buckets_are_those_of_the_contract() -> None:
    rng = np.random.default_rng(0)
    now = rng.integers(40 * 86_400, 90 * 86_400, (200, 1))
    launched_at = np.concatenate([[0], rng.integers(0, 90 * 86_400, 50)])

    found = age_buckets(torch.from_numpy(launched_at), torch.from_numpy(now))

    np.testing.assert_array_equal(found.numpy(), item_age_bucket(launched_at, now))


def test_age_buckets_by_day(toy_data: WorkerData) -> None:
    buckets = toy_data.age_buckets_by_day()

    assert buckets.shape == (14, 30)
    assert set(buckets[:, 0].tolist()) == {NUM_ITEM_AGE_BUCKETS - 1}  # it was always there
    assert buckets[:, 29].tolist() == [NOT_LAUNCHED] * 10 + [0, 1, 2, 3]  # launched at the start of day 10


def test_counts_are_of_training_rows(toy_data: WorkerData) -> None:
    counts = toy_data.counts(torch.device("cpu"))

    assert counts.sum().item() == len(toy_data.train_rows)
    assert counts[-2:].tolist() == [0, 0]


def test_units_of_a_batch_have_similar_lengths_and_each_comes_once() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 60, 500)
    units = Units(np.arange(500) + 1_000, np.maximum(lengths // 2, 1), lengths)

    ids, ends = units.batches(40, np.random.default_rng(1))

    assert sorted(ids.tolist()) == units.ids.tolist()
    parts = np.split(lengths[ids - 1_000], ends[1:-1])
    rows = [np.maximum(part // 2, 1).sum() for part in parts]
    assert max(rows) - min(rows) < 2 * 30  # at most one unit more or less
    spread = np.mean([part.max() - part.min() for part in parts])
    assert spread < 10 < lengths.max() - lengths.min()
    firsts = [part[0] for part in parts]
    assert firsts != sorted(firsts)


def test_every_batch_has_a_unit_even_if_one_has_most_rows() -> None:
    units = Units(np.arange(5), np.array([1, 1, 100, 1, 1]))

    for seed in range(20):
        ids, ends = units.batches(5, np.random.default_rng(seed))

        assert sorted(ids.tolist()) == [0, 1, 2, 3, 4]
        assert np.diff(ends).tolist() == [1] * 5
