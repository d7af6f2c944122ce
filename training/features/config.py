"""Configuration of preprocessing."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from contracts.columns import EVENTS, IMPRESSIONS, INTERACTIONS, ITEMS, USERS, EventName
from contracts.config import DayName, StrictConfig
from training.splits import SplitConfig

_TABLES = tuple(schema.name for schema in (USERS, ITEMS, INTERACTIONS, IMPRESSIONS))


class MaskConfig(StrictConfig):
    """Shares of the training rows whose features are hidden, so that the OOV rows are trained."""

    user_rate: float = Field(default=0.05, ge=0, le=1)
    """User id, gender and both top categories are hidden."""
    anonymous_share: float = Field(default=0.5, ge=0, le=1)
    """Share of these whose age and history are hidden too: an anonymous first visit."""
    user_id_rate: float = Field(default=0.05, ge=0, le=1)
    """Only the user id is hidden: a registered user without events."""
    device_rate: float = Field(default=0.05, ge=0, le=1)
    """The device type is hidden."""
    item_rate: float = Field(default=0.05, ge=0, le=1)
    """The item id is hidden: a new item, known by its content only."""

    @model_validator(mode="after")
    def _rates_fit(self) -> MaskConfig:
        if self.user_rate + self.user_id_rate > 1:
            raise ValueError(
                f"user_rate {self.user_rate} and user_id_rate {self.user_id_rate} exclude each other on a row; "
                "their sum must not exceed 1"
            )
        return self


class PreprocessConfig(StrictConfig):
    """From raw tables to the processed run."""

    timezone: str = "UTC"
    """The shop's, IANA name: hours, weekdays and days are local to it."""
    columns: dict[str, dict[str, str]] = Field(default_factory=dict)
    """By table, names of the shop's columns by our names: `{items: {title: name}}`."""
    split: SplitConfig = SplitConfig()
    """Training, validation and test days."""
    earliest_day: DayName = "2000-01-01"
    """YYYY-MM-DD; tables with an earlier day are refused, because such days mostly come from wrong timestamps."""
    positive_events: tuple[EventName, ...] = Field(default=EVENTS, min_length=1)
    """Events that are positives; the others only count as history and activity."""
    before_launch: Literal["no_positive", "move_launch"] = "no_positive"
    """How to treat events before their item's launch: they are no positives and lose their label, or the launch moves
    to the item's first event."""
    seen_events: tuple[EventName, ...] = EVENTS
    """Events that mark the item as seen."""
    masks: MaskConfig = MaskConfig()
    """Masking of training rows."""
    max_duplicate_share: float = Field(default=0.2, ge=0, le=1)
    """Largest share of the interactions that may repeat another one of the same user or session, with equal event_id,
    item, event and time; a larger one is an error. The shop's rows of recorded events are not counted."""
    num_partitions: int = Field(default=4, ge=1, le=4096)
    """Number of parts by hash of the subject; one task holds a part in memory."""
    seed: int = Field(default=0, ge=0)
    """Seed of the masks."""

    @field_validator("columns")
    @classmethod
    def _known_tables(cls, value: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
        for table in value:
            if table not in _TABLES:
                raise ValueError(f"unknown table {table!r}; legal: {', '.join(_TABLES)}")
        return value
