"""The history of a subject is read once for a request and serves both models: its length and its window."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from pydantic import Field, JsonValue

from contracts.config import StrictConfig
from contracts.errors import BundleError, ConfigError, RecommenderError


class HistoryReader(Protocol):
    """The fields of a model's config about its history."""

    @property
    def history_length(self) -> int: ...

    @property
    def history_days(self) -> int: ...


class HistoryReach(StrictConfig):
    """The history that satisfies every model."""

    length: int = Field(ge=0, strict=True)
    """Number of interactions; 0 = none."""
    days: int = Field(ge=1, strict=True)
    """Older interactions are not read."""

    @classmethod
    def of(cls, readers: Mapping[str, HistoryReader], error: type[RecommenderError] = ConfigError) -> HistoryReach:
        """The reach for all models; models with history_length=0 do not count.

        Args:
            readers: configs of the models by name, for messages.
            error: class to raise.

        Raises:
            RecommenderError: two models read different numbers of days.
        """
        reading = {name: config for name, config in readers.items() if config.history_length > 0}
        if len({config.history_days for config in reading.values()}) > 1:
            fields = " differs from ".join(f"{name}.history_days={one.history_days}" for name, one in reading.items())
            raise error(f"{fields}; both models read one history: set both to the same value and train again")
        days = next((config.history_days for config in reading.values()), 1)
        length = max((config.history_length for config in reading.values()), default=0)
        return cls(length=length, days=days)


@dataclass(frozen=True)
class StoredReader:
    """A `HistoryReader` made from the config of a trained model."""

    history_length: int
    history_days: int

    @classmethod
    def of(cls, config: Mapping[str, JsonValue]) -> StoredReader:
        """Reads the two fields.

        Raises:
            BundleError: one of them is no whole number.
        """
        length, days = config.get("history_length", 0), config.get("history_days", 1)
        if not isinstance(length, int) or not isinstance(days, int):
            raise BundleError(
                f"history_length is {length!r} and history_days is {days!r} in a model's config, expected whole numbers"
            )
        return cls(length, days)
