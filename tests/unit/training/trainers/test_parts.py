from __future__ import annotations

import pytest

from contracts.errors import ConfigError
from training.features.processed import ProcessedInfo
from training.trainers.parts import last_days


def info(train_days: int = 12) -> ProcessedInfo:
    end = 99 + train_days
    days = {"first_day": 100, "train_end_day": end, "validation_day": end + 1, "validation_end_day": end + 2}
    return ProcessedInfo(
        fingerprint="f", shop="s", raw_dir="r", timezone="UTC", test_day=end + 3, last_day=end + 3, counts={},
        kept_out={}, missing=(), has_labels=False, seen_events=("view",), **days,
    )  # fmt: skip


def test_the_last_days_in_order() -> None:
    assert list(last_days(info(), 0.25, refit=True).items()) == [("earlier", 108), ("trained", 111), ("refit", 113)]
    assert last_days(info(), None, refit=False) == {"trained": 111}
    assert last_days(info(2), 0.01, refit=False) == {"earlier": 100, "trained": 101}  # at least one day is left over


@pytest.mark.parametrize(("share", "days"), [(0.25, 1), (0.96, 12)])
def test_the_earlier_retriever_needs_a_day(share: float, days: int) -> None:
    with pytest.raises(ConfigError, match=rf"forward_share={share} of {days} training days leaves none"):
        last_days(info(days), share, refit=True)
