from __future__ import annotations

import numpy as np
import pytest

from benchmarks.last_events import Split, baseline_ranks, figures_of, ranks_of
from contracts.errors import DataError
from tests.fixtures.events import event_table

# Items 0 … 4. The first user has met 0, 1 and 2 before the last event, the third user 3 twice; the second has two
# events only.
EVENTS = event_table(
    [
        [(10, 0), (20, 1), (30, 2), (40, 3)],
        [(10, 4), (20, 4)],
        [(10, 3), (20, 3), (30, 3), (40, 1), (50, 3)],
    ]
)


def test_the_last_event_is_the_test_and_the_one_before_it_the_validation() -> None:
    split = Split.of(EVENTS)
    assert split.test.tolist() == [3, 10]
    assert split.validation.tolist() == [2, 9]
    assert split.train.tolist() == [0, 1, 6, 7, 8]
    assert np.flatnonzero(split.is_train(len(EVENTS))).tolist() == [0, 1, 6, 7, 8]


def test_users_with_too_few_events_are_left_out() -> None:
    assert Split.of(EVENTS, min_events=5).test.tolist() == [10]
    assert Split.of(EVENTS, min_events=2).test.tolist() == [3, 5, 10]


def test_items_that_the_user_met_before_are_masked_unless_one_is_the_target() -> None:
    scores = np.array([[9, 8, 7, 1, 2], [5, 4, 3, 2, 6]], dtype=np.float32)
    # First user: 0, 1 and 2 are masked, 4 is above the target 3. Third user: the target 3 was met before and counts
    # all the same, 1 is masked; 0, 2 and 4 are above it.
    assert ranks_of([scores], EVENTS, np.array([3, 10])).tolist() == [2, 4]
    assert ranks_of([scores[:1], scores[1:]], EVENTS, np.array([3, 10])).tolist() == [2, 4]
    assert scores[0, 0] == 9, "the caller's scores stay as they are"


def test_only_earlier_events_are_masked() -> None:
    # Validation of the first user: 0 and 1 are masked, the later 3 is a rival of the target 2.
    scores = np.array([[9, 8, 7, 8, 2]], dtype=np.float32)
    assert ranks_of([scores], EVENTS, np.array([2])).tolist() == [2]


def test_scores_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(DataError, match="scores are NaN"):
        ranks_of([np.full((1, 5), np.nan, dtype=np.float32)], EVENTS, np.array([3]))


def test_figures_count_the_first_ten() -> None:
    # Ranks 1 and 3 are hits with gains of 1 and 1 / log2(4); 11 is none.
    found = figures_of(np.array([1, 3, 11], dtype=np.int32), "ease_")
    assert found == pytest.approx({"ease_hr10": 2 / 3, "ease_ndcg10": (1 + 0.5) / 3})


def test_baselines_learn_from_the_training_events_alone() -> None:
    # In the training 0 leads to 1 twice, and 2 is the most popular item. The last user's last item is 0, so that
    # markov ranks 1 first; popularity has 1 behind 2. That 0 leads to 3 in test events is not known.
    users = [[(10, 0), (20, 1), (30, 5), (40, 3)]] * 2 + [[(10, 2), (20, 2), (30, 2), (40, 0), (50, 1)]]
    events = event_table(users)
    split = Split.of(events)
    ranks = baseline_ranks(events, split, split.test, 6)
    assert set(ranks) == {"popularity", "markov", "ease", "item_knn"}
    assert ranks["markov"][2] == 1
    # Counts of the training: 2 three times, 0 and 1 twice; 2 and 0 are masked.
    assert ranks["popularity"][2] == 1
    assert ranks["popularity"][0] >= 2, "2 is more popular than 3, which nobody met in the training"


def test_a_catalogue_that_is_too_large_has_popularity_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.last_events.MAX_ITEM_TO_ITEM", 4)
    split = Split.of(EVENTS)
    assert set(baseline_ranks(EVENTS, split, split.test, 5)) == {"popularity"}
