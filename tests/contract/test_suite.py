"""The contract of `serving.testing` fails a stage that breaks it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from contracts.bundle import Bundle
from contracts.messages import Candidates, FilterResult
from serving.stages.version import refuse_other_version
from serving.testing import StageContract, candidates, parts_of


def mixes_requests(given: Candidates) -> Candidates:
    return given.with_scores(given.scores / np.float32(len(given)))


def writes_into_messages(given: Candidates) -> Candidates:
    given.scores[:] = 0
    return given


def loses_one(given: Candidates) -> Candidates:
    return given.where(np.arange(len(given.rows)) > 0)


def loses_one_silently(given: Candidates) -> FilterResult:
    return FilterResult.unfiltered(loses_one(given))


def takes_one_twice(given: Candidates) -> Candidates:
    return Candidates(given.bundle_version, np.repeat(given.rows, 2), np.repeat(given.scores, 2), 2 * given.lengths)


def makes_one_up(given: Candidates) -> Candidates:
    return Candidates(given.bundle_version, given.rows + np.int32(100), given.scores, given.lengths)


def takes_any_bundle(given: Candidates) -> Candidates:
    return given


def is_right(given: Candidates) -> Candidates:
    refuse_other_version(given.bundle_version, "tiny-1")
    return given


class Suite(StageContract):
    def __init__(self, stage: Callable[[Candidates], object]) -> None:
        self._stage = stage

    def stage(self, bundle: Bundle) -> Callable[[Candidates], object]:
        return self._stage

    def messages(self, bundle: Bundle, *places: int) -> tuple[Candidates]:
        return (candidates(bundle, *places),)


TESTS = [name for name in dir(StageContract) if name.startswith("test_")]


@pytest.mark.parametrize(
    ("stage", "test", "says"),
    [
        (mixes_requests, "test_a_batch_of_one_equals_its_part_of_a_whole_batch", "scores of 0"),
        (writes_into_messages, "test_messages_are_left_as_they_are", "read-only"),
        (loses_one, "test_no_candidate_is_lost_or_made_up", "request 0 has lost candidates"),
        (loses_one_silently, "test_no_candidate_is_lost_or_made_up", "request 0 has lost candidates"),
        (takes_one_twice, "test_no_candidate_is_lost_or_made_up", "request 0 has an item twice"),
        (makes_one_up, "test_no_candidate_is_lost_or_made_up", "request 0 has items that were no candidates"),
        (takes_any_bundle, "test_another_bundle_is_refused", "DID NOT RAISE"),
    ],
)
def test_a_stage_that_breaks_the_contract_fails(
    bundle: Bundle, stage: Callable[[Candidates], object], test: str, says: str
) -> None:
    with pytest.raises((AssertionError, ValueError, pytest.fail.Exception), match=says):
        getattr(Suite(stage), test)(bundle)


@pytest.mark.parametrize("test", TESTS)
def test_a_stage_that_keeps_it_passes(bundle: Bundle, test: str) -> None:
    getattr(Suite(is_right), test)(bundle)


def test_an_answer_that_is_no_message_is_told() -> None:
    with pytest.raises(TypeError, match="a stage answered with list, expected Candidates"):
        parts_of([])
