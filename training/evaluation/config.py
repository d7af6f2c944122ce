"""Configuration of the evaluation."""

from __future__ import annotations

from pydantic import Field

from contracts.config import StrictConfig


class EvaluationConfig(StrictConfig):
    """How a bundle is judged on the last day."""

    max_events: int = Field(default=20_000, ge=1)
    """Events of the test day that are scored; a seeded sample where there are more."""
    max_filtered_events: int = Field(default=6_000, ge=1)
    """Of those, events that are scored with the seen filter on, by every method; their `n` tells."""
    max_users: int = Field(default=10_000, ge=1)
    """Users whose whole test day is predicted (second protocol); a seeded sample where there are more."""
    max_ablation_events: int = Field(default=5_000, ge=1)
    """Events that the ablated oracles score; their `n` tells."""
    batch_size: int = Field(default=64, ge=1)
    """Queries handed to the pipeline at once."""
    candidates_k: int = Field(default=300, ge=10)
    """Ranked items asked from the pipeline; recall beyond it is not measured."""
    item_to_item_refreshes: int = Field(default=2, ge=1)
    """How often over the test day Markov, ItemKNN and EASE learn from what happened until then."""
    max_item_to_item: int = Field(default=12_000, ge=1)
    """Catalogues of more items get no item-to-item baselines: those hold a dense item by item matrix."""
    cold_user_events: int = Field(default=5, ge=1)
    """A user with fewer earlier events is cold."""
    cold_item_days: int = Field(default=3, ge=1)
    """An item launched within this many days is cold."""
    window_days: int = Field(default=7, ge=1)
    """Shop-local days that the seen filter remembers, today included."""
    num_replicates: int = Field(default=1_000, ge=100)
    """Bootstrap replicates."""
    seed: int = Field(default=0, ge=0)
    """Of samples, ties and the bootstrap."""
