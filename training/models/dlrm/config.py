"""The shape of the DLRM, and what it needs of the data."""

from __future__ import annotations

from collections.abc import Collection

from pydantic import Field

from contracts.config import StrictConfig
from contracts.errors import ConfigError
from training.models.schema import ModelSchema


class DLRMConfig(StrictConfig):
    """Shape of the ranker. The reference: no history, no retrieval score, no item age, price in the bottom MLP."""

    dim: int = Field(default=64, ge=1)
    """Width of every field vector."""
    bottom_dims: tuple[int, ...] = (128,)
    """Hidden layers of the bottom MLP; its output has the width `dim`."""
    top_dims: tuple[int, ...] = Field(default=(128, 64, 32), min_length=1)
    """Hidden layers of the top MLP."""
    price_in_bottom: bool = False
    """True mixes the numbers of query and item in the bottom MLP; False gives the item's a vector of their own."""
    history_length: int = Field(default=32, ge=0)
    """Last interactions that the ranker reads; 0 for none."""
    history_days: int = Field(default=30, ge=1)
    """Interactions older than this are not read."""
    history_heads: int = Field(default=2, ge=1)
    """Attention heads that pool the history; each is a field. The candidate's count in the history is an input too."""
    item_age: bool = True
    """Whether the item's age at the time of the request is an input."""
    retrieval_score: bool = True
    """Whether the retrieval score is an input, also added to the logit with a weight that starts at 1."""
    popularity: bool = False
    """Whether the item's popularity at the start of the request's day is an input: decayed counts of interactions."""
    id_dropout: float = Field(default=0.1, ge=0, lt=1)
    """Probability that an item's id is out of vocabulary in a training step, everywhere in the batch."""
    user_dropout: float = Field(default=0.5, ge=0, lt=1)
    """Probability that a user's id is out of vocabulary in a training row, so that the model learns from the history
    instead of memorizing users."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout after the top's hidden layers."""

    def lacks_numbers(self, query: Collection[str], item: Collection[str]) -> bool:
        """Whether `price_in_bottom` has to mix numbers of which a side has none."""
        return self.price_in_bottom and not (query and item)


def check_config(config: DLRMConfig, schema: ModelSchema, *, has_items: bool) -> None:
    """Refuses a config that reads inputs that the schema lacks.

    Raises:
        ConfigError: names the settings.
    """
    if config.lacks_numbers(schema.query.numbers, schema.item.numbers):
        raise ConfigError(
            f"price_in_bottom=true mixes the numbers of query and item, the schema has "
            f"{list(schema.query.numbers)} and {list(schema.item.numbers)}; set price_in_bottom to false"
        )
    reads = [name for name in ("history_length", "item_age", "retrieval_score", "popularity") if getattr(config, name)]
    if not has_items and reads:
        raise ConfigError(f"a ranker without a catalogue cannot read {', '.join(reads)}; set them to 0 or false")
