"""Configuration of the simulated shop: presets, sizes and overrides."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Final, Literal

from pydantic import Field, field_validator, model_validator

from contracts.columns import ITEMS, USERS
from contracts.config import StrictConfig

PresetName = Literal["easy", "hard"]
SizeName = Literal["debug", "demo", "reference"]

BRAND: Final = "brand"
"""A column of items in shops with brands; models read it if `features.columns` declares it."""


class Preset(StrictConfig):
    """How predictable the choices are."""

    uniform_share: float = Field(ge=0, le=1)
    """Share of choices that are uniform over the launched items (eps)."""
    similar_share: float = Field(ge=0, lt=1)
    """Share of the other choices that follow the session's last item (pi); 0 at a session's first event."""
    num_similar: int = Field(ge=1)
    """Number of nearest items of the last item that such a choice takes from."""
    popularity_slope: float = Field(ge=0)
    """Base popularity falls with this times the logarithm of the popularity rank."""
    persona_weight: float = Field(ge=0, le=1)
    """Weight of a persona's favourite categories against the sizes of the categories."""


class Size(StrictConfig):
    """How large the shop is."""

    num_users: int
    """Users with a profile."""
    num_items: int
    """Items, including those that launch during the period."""
    num_events: int
    """Interactions of the whole period."""
    slates_per_day: int
    """Logged impressions: slates shown a day."""


PRESETS: Final[dict[PresetName, Preset]] = {
    "easy": Preset(uniform_share=0.05, similar_share=0.45, num_similar=12, popularity_slope=0.9, persona_weight=0.85),
    "hard": Preset(uniform_share=0.10, similar_share=0.35, num_similar=40, popularity_slope=0.7, persona_weight=0.65),
}
SIZES: Final[dict[SizeName, Size]] = {
    "debug": Size(num_users=500, num_items=300, num_events=15_000, slates_per_day=50),
    "demo": Size(num_users=6_000, num_items=2_500, num_events=250_000, slates_per_day=500),
    "reference": Size(num_users=300_000, num_items=2_465, num_events=13_000_000, slates_per_day=5_000),
}


class DriftConfig(StrictConfig):
    """How the shop changes during the period; it does not if all are zero."""

    category_std: float = Field(default=0.0, ge=0)
    """Daily step of the random walk on the log weight of each category."""
    popularity_std: float = Field(default=0.0, ge=0)
    """Daily step of the random walk on the popularity of each item."""
    latent_hazard: float = Field(default=0.0, ge=0, lt=1)
    """Probability per day that a user's taste, persona and price tier are drawn again."""


class ImpressionsConfig(StrictConfig):
    """Logged slates and the clicks on them."""

    slates_per_day: int | None = Field(default=None, ge=0)
    """Slates shown per day; null takes the size's number, 0 writes no impressions."""
    slate_size: int = Field(default=10, ge=1)
    """Items of one slate; positions count from 0."""
    policy_noise_std: float = Field(default=1.0, ge=0)
    """Noise of the logging policy on the log popularity, drawn once per day and item."""
    click_bias: float = -2.0
    """Logit of a click at position 0 on an item with the uniform probability (a0)."""
    click_slope: float = Field(default=0.8, gt=0)
    """Slope of the logit over the log ratio of an item's probability to the uniform one (a1)."""
    click_clip: float = Field(default=4.0, gt=0)
    """That log ratio is clipped to plus and minus this."""
    position_slope: float = Field(default=0.5, ge=0)
    """The logit falls by this times log(1 + position)."""


class SimulatorConfig(StrictConfig):
    """A simulated shop with a known best ranking."""

    preset: PresetName = "hard"
    """How predictable the choices are."""
    size: SizeName = "demo"
    """Number of users, items, events and slates, unless overridden below."""
    seed: int = Field(default=0, ge=0)
    """The same seed and dates give the same tables."""
    timezone: str = "UTC"
    """IANA name; days, dayparts and weekends are those of the shop."""
    num_days: int = Field(default=14, ge=2)
    """Shop-local days."""
    start_date: date | None = None
    """First day; null lets the period end yesterday."""
    num_users: int | None = Field(default=None, ge=1)
    """Replaces the size's number."""
    num_items: int | None = Field(default=None, ge=10)
    """Replaces the size's number."""
    num_events: int | None = Field(default=None, ge=1)
    """Replaces the size's number."""
    items_path: Path | None = None
    """A Parquet file or folder with a real catalogue instead of a drawn one."""
    users_path: Path | None = None
    """A Parquet file or folder with real users instead of drawn ones."""
    columns: dict[str, str] = Field(default_factory=dict)
    """Raw column to its name in the given tables, for example `title: name`."""
    brands: int = Field(default=0, ge=0)
    """Number of brands (item column `brand`), which are part of the users' taste; 0 = none. A given items table with a
    column `brand` keeps its own brands, unless this is 0."""
    brand_weight: float = Field(default=1.0, ge=0)
    """Added to the log weight of items of a liked brand, subtracted for a disliked one."""
    describe_taste: bool = True
    """Whether descriptions of given items get a sentence with colour and material, so that texts show the taste."""
    drift: DriftConfig = DriftConfig()
    """How the shop changes during the period."""
    impressions: ImpressionsConfig = ImpressionsConfig()
    """The logged slates."""

    @field_validator("columns")
    @classmethod
    def _known_columns(cls, columns: dict[str, str]) -> dict[str, str]:
        legal = {*ITEMS.names, *USERS.names, BRAND}
        unknown = sorted(set(columns) - legal)
        if unknown:
            raise ValueError(f"columns renames {unknown}, expected raw columns among {sorted(legal)}")
        return columns

    @model_validator(mode="after")
    def _no_number_beside_a_table(self) -> SimulatorConfig:
        if self.items_path is not None and self.num_items is not None:
            raise ValueError(f"num_items={self.num_items} with items_path={self.items_path}: take one of the two")
        if self.users_path is not None and self.num_users is not None:
            raise ValueError(f"num_users={self.num_users} with users_path={self.users_path}: take one of the two")
        return self

    @model_validator(mode="after")
    def _brands_where_one_is_renamed(self) -> SimulatorConfig:
        if BRAND in self.columns and self.brands == 0:
            raise ValueError(f"columns.brand={self.columns[BRAND]} with brands=0, which ignores it: set brands")
        return self

    @property
    def parameters(self) -> Preset:
        """The preset's numbers."""
        return PRESETS[self.preset]

    @property
    def counts(self) -> Size:
        """The size's numbers with the overrides; of given tables, the rows count instead."""
        size = SIZES[self.size]
        slates = self.impressions.slates_per_day
        return Size(
            num_users=self.num_users or size.num_users,
            num_items=self.num_items or size.num_items,
            num_events=self.num_events or size.num_events,
            slates_per_day=size.slates_per_day if slates is None else slates,
        )
