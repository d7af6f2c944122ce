"""The contract of stages as a test suite; needs pytest.

A test class inherits it, opens the stage and makes its messages:

    from serving.testing import StageContract, candidates, queries

    class TestFreshness(StageContract):
        def stage(self, bundle):
            return Freshness.open(bundle)

        def messages(self, bundle, *places):
            return queries(bundle, *places), candidates(bundle, *places)

The tests need a fixture `bundle`, an opened bundle of any shop. `requests`, `queries` and `candidates` make messages
for it: a test picks some of `BATCH` different requests by their places.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from itertools import pairwise
from typing import ClassVar, Final

import numpy as np
import pytest

from contracts import columns as c
from contracts.bundle import Bundle
from contracts.errors import BundleError
from contracts.ids import AnyArray
from contracts.messages import Candidates, FilterResult, QueryFeatures, RequestBatch, Reranked
from serving.pipeline import Fallbacks
from serving.stages.query_features import LookedUp

BATCH: Final = 32
_OTHER: Final = "another version"


def requests(bundle: Bundle, *places: int) -> RequestBatch:
    """Some of `BATCH` different requests, at the launch time of the newest item.

    They are of users and sessions, have up to two recent items, some have no device, and want one to five items.
    """
    item_ids = bundle.strings("items/item_id")
    recent = tuple(str(item_ids[row]) for row in range(min(2, bundle.num_items)))
    now = int(bundle.array("items/launched_at").max())
    nobody = RequestBatch.anonymous(bundle.version, now, np.array([place % 5 + 1 for place in places], dtype=np.int32))
    return dataclasses.replace(
        nobody,
        user_ids=tuple(None if place % 4 == 3 else f"u{place % 6}" for place in places),
        session_ids=tuple("s1" if place % 4 == 3 else None for place in places),
        recent_items=tuple(recent[: place % 3] for place in places),
        context={c.DEVICE_TYPE: tuple(("mobile", "desktop", None)[place % 3] for place in places)},
    )


def queries(bundle: Bundle, *places: int) -> QueryFeatures:
    """Query features of `requests` with unknown users."""
    return Fallbacks.open(bundle, 1).anonymous(requests(bundle, *places)).features


def candidates(bundle: Bundle, *places: int) -> Candidates:
    """Candidates of some of `BATCH` requests, 10 to 16 with random scores; every fifth request has none."""
    parts = []
    for place in places:
        rng = np.random.default_rng(place)
        rows = rng.permutation(bundle.num_items)[: 0 if place % 5 == 4 else 10 + place % 7].astype(np.int32)
        parts.append((rows, rng.normal(size=len(rows)).astype(np.float32)))
    lengths = np.array([len(rows) for rows, _ in parts], dtype=np.int32)
    rows, scores = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return Candidates(bundle.version, rows, scores, lengths)


class StageContract:
    """Tests for every stage.

    Attributes:
        keeps_candidates: whether the answer has all candidates, kept or removed; False for a stage that cuts lists.
    """

    keeps_candidates: ClassVar[bool] = True

    def stage(self, bundle: Bundle) -> Callable[..., object]:
        """Opens the stage, whose call may be a coroutine."""
        raise NotImplementedError

    def messages(self, bundle: Bundle, *places: int) -> tuple[object, ...]:
        """Messages of the requests at some of the places 0 … `BATCH` - 1."""
        raise NotImplementedError

    def call(self, bundle: Bundle, *messages: object) -> object:
        """The stage's answer."""
        return _answer(self.stage(bundle), messages)

    def test_a_batch_of_one_equals_its_part_of_a_whole_batch(self, bundle: Bundle) -> None:
        """Requests of a batch do not affect each other."""
        stage = self.stage(bundle)
        together = parts_of(_answer(stage, self.messages(bundle, *range(BATCH))))
        for place in range(BATCH):
            (alone,) = parts_of(_answer(stage, self.messages(bundle, place)))
            for name, expected in alone.items():
                np.testing.assert_allclose(together[place][name], expected, atol=1e-5, err_msg=f"{name} of {place}")

    def test_messages_are_left_as_they_are(self, bundle: Bundle) -> None:
        """Stages may run at the same time on the same messages."""
        messages = self.messages(bundle, *range(BATCH))
        arrays = [array for message in messages for array in arrays_of(message).values()]
        before = [array.copy() for array in arrays]
        for array in arrays:
            array.flags.writeable = False
        self.call(bundle, *messages)
        for array, as_it_was in zip(arrays, before, strict=True):
            np.testing.assert_array_equal(array, as_it_was)

    def test_no_candidate_is_lost_or_made_up(self, bundle: Bundle) -> None:
        """The answer has only candidates of the message, each once, and all of them unless the stage cuts lists."""
        messages = self.messages(bundle, *range(BATCH))
        answer = self.call(bundle, *messages)
        for given in messages:
            if isinstance(given, Candidates):
                found = [answer.kept, answer.removed] if isinstance(answer, FilterResult) else [answer]
                for place, (before, *after) in enumerate(zip(parts_of(given), *map(parts_of, found), strict=True)):
                    rows = np.concatenate([part["rows"] for part in after]).tolist()
                    assert len(set(rows)) == len(rows), f"request {place} has an item twice: {sorted(rows)}"
                    made_up = set(rows) - set(before["rows"].tolist())
                    assert not made_up, f"request {place} has items that were no candidates: {made_up}"
                    lost = set(before["rows"].tolist()) - set(rows) if self.keeps_candidates else set()
                    assert not lost, f"request {place} has lost candidates: {lost}"

    def test_another_bundle_is_refused(self, bundle: Bundle) -> None:
        """No answer mixes two bundles: each message is checked."""
        messages = self.messages(bundle, 0)
        for place, message in enumerate(messages):
            if isinstance(message, RequestBatch | QueryFeatures | Candidates):
                other = dataclasses.replace(message, bundle_version=_OTHER)
                expected = f"asked for bundle '{_OTHER}', this replica serves '{bundle.version}'"
                with pytest.raises(BundleError, match=expected):
                    self.call(bundle, *messages[:place], other, *messages[place + 1 :])


def _answer(stage: Callable[..., object], messages: tuple[object, ...]) -> object:
    answer = stage(*messages)
    return asyncio.run(answer) if asyncio.iscoroutine(answer) else answer


def arrays_of(message: object) -> dict[str, AnyArray]:
    """All arrays of a message and of the messages in it, by path."""
    if isinstance(message, np.ndarray):
        return {"": message}
    parts: dict[str, object] = {}
    if isinstance(message, tuple):
        parts = {str(place): part for place, part in enumerate(message)}
    elif dataclasses.is_dataclass(message):
        parts = {field.name: getattr(message, field.name) for field in dataclasses.fields(message)}
    return {
        f"{name}.{path}".rstrip("."): array for name, part in parts.items() for path, array in arrays_of(part).items()
    }


def parts_of(answer: object) -> list[dict[str, AnyArray]]:
    """The arrays of a stage's answer by name, for each request.

    Raises:
        TypeError: it is no answer of a stage.
    """
    if isinstance(answer, Candidates):
        ends = answer.offsets
        return [{"rows": answer.rows[start:end], "scores": answer.scores[start:end]} for start, end in pairwise(ends)]
    if isinstance(answer, FilterResult):
        both = zip(parts_of(answer.kept), parts_of(answer.removed), strict=True)
        return [{"kept": kept["rows"], "scores": kept["scores"], "removed": removed["rows"]} for kept, removed in both]
    if isinstance(answer, Reranked):
        chances = np.split(answer.propensities, answer.items.offsets[1:-1])
        return [items | {"propensities": own} for items, own in zip(parts_of(answer.items), chances, strict=True)]
    if isinstance(answer, LookedUp):
        arrays = arrays_of(answer.features)
        return [{name: array[place] for name, array in arrays.items()} for place in range(len(answer.features))]
    raise TypeError(
        f"a stage answered with {type(answer).__name__}, expected Candidates, FilterResult, Reranked, LookedUp"
    )
