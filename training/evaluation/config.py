"""Configuration of the evaluation."""

from __future__ import annotations

from pydantic import Field

from contracts.config import StrictConfig


class EvaluationConfig(StrictConfig):
    """Evaluation of a bundle on the last day."""

    max_events: int = Field(default=20_000, ge=1)
    """Most events of the test day that are scored; a seeded sample if there are more."""
    max_filtered_events: int = Field(default=6_000, ge=1)
    """Most of these events that are also scored with the seen filter on, by every method; see their `n`."""
    max_users: int = Field(default=10_000, ge=1)
    """Most users whose whole test day is predicted (second protocol); a seeded sample if there are more."""
    max_ablation_events: int = Field(default=5_000, ge=1)
    """Most events that the ablated oracles score; see their `n`."""
    max_training_events: int = Field(default=3_000, ge=1)
    """Most events of the last training day that are scored beside those of the test day."""
    batch_size: int = Field(default=64, ge=1)
    """Queries per call of the pipeline."""
    candidates_k: int = Field(default=300, ge=10)
    """Ranked items asked from the pipeline; recall beyond it is not measured."""
    item_to_item_refreshes: int = Field(default=2, ge=1)
    """How often during the test day Markov, ItemKNN and EASE learn from the events so far."""
    max_item_to_item: int = Field(default=12_000, ge=1)
    """Larger catalogues get no item-to-item baselines, because these hold a dense item by item matrix."""
    cold_user_events: int = Field(default=5, ge=1)
    """A user with fewer earlier events is cold."""
    cold_item_days: int = Field(default=3, ge=1)
    """An item launched within this many days is cold."""
    window_days: int = Field(default=7, ge=1)
    """Shop-local days that the seen filter remembers, today included."""
    num_replicates: int = Field(default=1_000, ge=100)
    """Bootstrap replicates."""
    seed: int = Field(default=0, ge=0)
    """Seed of samples, ties and the bootstrap."""
