"""Reports interactions that preprocessing kept out or that look odd: counts and a few examples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, TypedDict

import numpy as np
import pyarrow as pa

from contracts.clock import day_to_name
from contracts.errors import DataError
from contracts.ids import LongArray
from training.features.encode import VERDICTS
from training.features.repeats import NUM_EXAMPLES, REPEATS, REUSED
from training.splits import Split

Examples = Mapping[str, Sequence[str]]
"""Examples by reason; each begins with its reason."""
_NAMED: Final = 5
_FEW: Final = 0.1
_REASONS: Final = (*VERDICTS, *REPEATS, REUSED)


class PreprocessReport(TypedDict):
    """The report of a run, as JSON: interactions kept out by reason, examples, and warnings."""

    kept_out: dict[str, int]
    reused_event_ids: int
    examples: list[str]
    empty_days: list[str]
    warnings: list[str]
    out_of_vocabulary: dict[str, int]


def gather_examples(parts: pa.ChunkedArray) -> Examples:
    """The first examples of all partitions by reason, in the order of the reasons; at most `NUM_EXAMPLES` of each."""
    of_reason: dict[str, list[str]] = {reason: [] for reason in _REASONS}
    for example in sorted(example for part in parts.to_pylist() for example in part):
        of_reason.setdefault(example.partition(":")[0], []).append(example)
    return {reason: examples[:NUM_EXAMPLES] for reason, examples in of_reason.items()}


def kept_out_warnings(kept_out: Mapping[str, int], reused: int, examples: Examples, file: str) -> Iterator[str]:
    """Messages; they name the file if it has examples.

    Args:
        kept_out: interactions by reason.
        reused: interactions whose event id another one of their subject has.
        examples: by reason.
        file: the file with the examples.
    """
    found = {reason: (count, f"kept out: {reason}") for reason, count in kept_out.items()}
    if reused:
        found[REUSED] = reused, "have an event_id that another one of their user or session has, and count all the same"
    for reason, (count, what) in found.items():
        some = examples[reason]
        more = f"; for example {some[0].partition(': ')[2]}; {len(some)} in {file}" if some else ""
        yield f"{count} interactions {what}{more}"


def summary_of_kept_out(kept_out: Mapping[str, int], examples: Sequence[str]) -> str:
    """Counts and reasons of interactions kept out, with some examples; part of a message."""
    if not kept_out:
        return "no interaction was kept out"
    counts = ", ".join(f"{count} {reason}" for reason, count in kept_out.items())
    return f"kept out: {counts}; for example {'; '.join(examples[:NUM_EXAMPLES])}"


def check_repeats(num_events: int, repeated: int, largest_share: float, examples: Sequence[str]) -> None:
    """Refuses tables whose rows repeat each other too often.

    Args:
        num_events: events that are kept.
        repeated: rows that repeat a kept event.
        largest_share: largest legal share of `repeated` in all rows.
        examples: of repeated rows.

    Raises:
        DataError: too many rows are repeats.
    """
    num_rows = num_events + repeated
    if repeated > largest_share * num_rows:
        raise DataError(
            f"{repeated} of {num_rows} interactions repeat event_id, item, event and time of another one of the same "
            f"user or session, expected at most a share of max_duplicate_share={largest_share:g}; for example "
            f"{'; '.join(examples)}. Write each event once, or raise preprocess.max_duplicate_share if they are "
            "really sent so often"
        )


def check_positives(split: Split, positives: LongArray, num_train: int, lacking: str) -> None:
    """Refuses a split without positives to train on or to evaluate on.

    Args:
        split: its days.
        positives: of each day from the first on.
        num_train: positives of the training days.
        lacking: interactions kept out, for the message.

    Raises:
        DataError: there is no positive to train on, or none on the test day.
    """
    if num_train == 0:
        raise DataError(
            f"empty training window: no positive between {day_to_name(split.first_day)} and "
            f"{day_to_name(split.train_end_day)}; {lacking}"
        )
    if positives[-1] == 0:
        raise DataError(
            f"no positive on the test day {day_to_name(split.last_day)}, so nothing could be judged; export the "
            f"day, or choose other days by split.first_day, split.train_days and split.test_days; {lacking}"
        )


def day_warnings(split: Split, positives: LongArray, empty: Sequence[str], file: str) -> Iterator[str]:
    """Warnings about a split.

    Args:
        split: its days.
        positives: of each of them.
        empty: names of those without events.
        file: the file that names all of them.
    """
    if empty:
        more = f" and {len(empty) - _NAMED} more, see {file}" if len(empty) > _NAMED else ""
        yield f"days without interactions: {', '.join(empty[:_NAMED])}{more}"
    train = positives[: split.validation_day - split.first_day]
    validation = positives[len(train) : split.test_day - split.first_day]
    if validation.sum() == 0:
        days = " to ".join(dict.fromkeys(map(day_to_name, (split.validation_day, split.validation_end_day))))
        yield f"no positive on the validation day {days}: the models are trained without figures"
    usual = float(np.median(train[train > 0]))
    if positives[-1] < _FEW * usual:
        yield (
            f"the test day {day_to_name(split.last_day)} has {positives[-1]} positives where {usual:.0f} are usual: is "
            "its export complete? The report is about this day"
        )


def vocabulary_warnings(left_out: Mapping[str, int]) -> Iterator[str]:
    """Messages about occurrences of categories without an id, by feature."""
    for name, count in left_out.items():
        yield f"{count:,} occurrences of categories of {name} got no id of their own: they are out of vocabulary"
