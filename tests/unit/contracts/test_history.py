from __future__ import annotations

import pytest

from contracts.errors import BundleError, ConfigError
from contracts.history import HistoryReach, StoredReader


def test_the_reach_is_that_of_the_models_that_read() -> None:
    readers = {"two_tower.model": StoredReader(8, 30), "ranker.model": StoredReader(0, 7)}
    assert HistoryReach.of(readers) == HistoryReach(length=8, days=30)
    assert HistoryReach.of({"ranker.model": StoredReader(0, 7)}).length == 0
    assert StoredReader.of({"history_length": 4, "history_days": 9}) == StoredReader(4, 9)


def test_a_stored_config_with_other_values_is_refused() -> None:
    with pytest.raises(
        BundleError, match="history_length is 'long' and history_days is 9 in a model's config, expected w"
    ):
        StoredReader.of({"history_length": "long", "history_days": 9})


@pytest.mark.parametrize("error", [ConfigError, BundleError])
def test_models_that_read_other_days_are_refused_by_both_fields(error: type[ConfigError]) -> None:
    readers = {"two_tower.model": StoredReader(8, 30), "ranker.model": StoredReader(4, 7)}
    message = (
        r"two_tower\.model\.history_days=30 differs from ranker\.model\.history_days=7; both models read one history"
    )
    with pytest.raises(error, match=message):
        HistoryReach.of(readers, error)
