"""The models that one training run makes, by the days that they are trained on."""

from __future__ import annotations

from typing import Final

from contracts.errors import ConfigError
from training.features.processed import ProcessedInfo

EARLIER: Final = "earlier"
"""A retriever of the first training days: it scores the ranker's training rows on the later ones."""
TRAINED: Final = "trained"
"""Models of all training days: the validation day judges them."""
REFIT: Final = "refit"
"""Models of training and validation days, with the same settings: what is served. No day judges them but the test."""


def last_days(info: ProcessedInfo, earlier_share: float | None, *, refit: bool) -> dict[str, int]:
    """The last day that each part is trained on, shop-local days since 1970-01-01, in order.

    Args:
        info: days of the processed run.
        earlier_share: share of the training days, the last ones, that the earlier retriever does not see; None = there
            is none.
        refit: whether there are models of the validation days, too.

    Raises:
        ConfigError: no day is left for the earlier retriever.
    """
    days = {TRAINED: info.train_end_day}
    if earlier_share is not None:
        num_days = info.train_end_day - info.first_day + 1
        later = max(1, round(earlier_share * num_days))
        if later >= num_days:
            raise ConfigError(
                f"ranker.forward_share={earlier_share} of {num_days} training days leaves none for the earlier "
                "retriever; lower it, give more days, or set ranker.scores=in_sample"
            )
        days = {EARLIER: info.train_end_day - later, **days}
    return days | ({REFIT: info.validation_end_day} if refit else {})
