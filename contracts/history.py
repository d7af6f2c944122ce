"""One history is read, once a request, and serves both models: how long it is and how far it reaches back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from pydantic import Field, JsonValue

from contracts.config import StrictConfig
from contracts.errors import BundleError, ConfigError, RecommenderError


class HistoryReader(Protocol):
    """What a model's config says about the history that it reads."""

    @property
    def history_length(self) -> int: ...

    @property
    def history_days(self) -> int: ...


class HistoryReach(StrictConfig):
    """What has to be read so that every model gets what it was made for."""

    length: int = Field(ge=0, strict=True)
    """Interactions, 0 for none."""
    days: int = Field(ge=1, strict=True)
    """Interactions older than this are not read."""

    @classmethod
    def of(cls, readers: Mapping[str, HistoryReader], error: type[RecommenderError] = ConfigError) -> HistoryReach:
        """The reach that serves all models; those with history_length=0 have no say.

        Args:
            readers: the models' configs by their names, for messages.
            error: raised where they differ.

        Raises:
            RecommenderError: two models read histories of different days.
        """
        reading = {name: config for name, config in readers.items() if config.history_length > 0}
        if len({config.history_days for config in reading.values()}) > 1:
            fields = " differs from ".join(f"{name}.history_days={one.history_days}" for name, one in reading.items())
            raise error(f"{fields}; both models read one history: set both to the same and train anew")
        days = next((config.history_days for config in reading.values()), 1)
        length = max((config.history_length for config in reading.values()), default=0)
        return cls(length=length, days=days)


@dataclass(frozen=True)
class StoredReader:
    """A `HistoryReader` from the config that lies beside a trained model's weights."""

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
