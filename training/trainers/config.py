"""Configuration that both trainers share."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from contracts.config import StrictConfig


class TrainerConfig(StrictConfig):
    """The step loop, the optimizers and the workers."""

    epochs: int = Field(default=2, ge=1)
    """Passes over the training rows."""
    batch_size: int = Field(default=1_024, ge=2)
    """Rows of one step of one worker."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Of Adam, for dense and sparse parameters alike."""
    scalar_rate_factor: float = Field(default=10.0, gt=0)
    """Factor of the learning rate for scalars and biases. Adam moves a parameter by at most the learning rate per step,
    so a bias may not reach its best value in a short run. 1 treats all parameters alike."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Decoupled weight decay of the dense parameters, except scalars and biases."""
    schedule: Literal["constant", "cosine"] = "cosine"
    """Course of the learning rate: constant, or falling to a hundredth along a cosine."""
    warmup_steps: int = Field(default=100, ge=0)
    """Steps in which the learning rate rises from zero."""
    sparse_above: int | None = Field(default=20_000, ge=1)
    """Embedding tables with more rows than this get sparse gradients; null makes all of them dense."""
    seed: int = Field(default=0, ge=0)
    """Seed of initial weights, order of rows, dropout and negatives."""
    validation_rows: int = Field(default=10_000, ge=1)
    """At most this many events of the validation day are evaluated."""
    num_workers: int = Field(default=1, ge=1)
    """Ray Train workers; each trains on its own subjects."""
    threads: int = Field(default=2, ge=1)
    """CPU threads of a worker; fewer while other programs use the cores."""
    fixed_threads: bool = False
    """Always uses `threads` threads: two runs then give the same result to the last digit, but a busy neighbour on two
    cores costs two thirds of the rate instead of one third."""
    use_gpu: bool = False
    """Whether each worker uses a GPU."""
    max_failures: int = Field(default=2, ge=0)
    """How often training starts again from the last checkpoint after a worker was lost."""
    checkpoint_steps: int | None = Field(default=None, ge=1)
    """Also keep a checkpoint every N steps; null keeps one per epoch."""
