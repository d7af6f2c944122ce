"""The loop of steps and evaluation, for every model and any number of workers."""

from __future__ import annotations

import ctypes
import math
import time
from collections.abc import Callable
from contextlib import closing
from typing import Final, Protocol, TypedDict

import numpy as np
import torch
from torch import Tensor, nn

from contracts.errors import DataError, TrainingError
from contracts.ids import LongArray
from training.trainers.config import TrainerConfig
from training.trainers.data import Batch
from training.trainers.steps.batches import Units, epoch_batches
from training.trainers.steps.finite import FIX, Losses, check_weights
from training.trainers.workers import average_gradients, largest, num_workers, smallest, total

_LAST_RATE: Final = 0.01
_REPORT_EVERY: Final = 20
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _KEEP_BYTES = -1, -3, (1 << 31) - 1

Metrics = dict[str, float]


class Task(Protocol):
    """The interface of a model to the loop."""

    @property
    def model(self) -> nn.Module:
        """The trained model."""
        ...

    @property
    def units(self) -> Units:
        """What this worker trains on."""
        ...

    def build(self, ids: LongArray) -> Batch:
        """Inputs of some units; runs in the input thread."""
        ...

    def loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Loss of a batch; `generator` draws the negatives."""
        ...

    def evaluate(self) -> Metrics:
        """Metrics of the validation day over all workers; called in evaluation mode."""
        ...


Progress = Callable[[int, int, float, float], None]
"""Called from time to time with steps done, all steps, loss, and rows per second."""


class TrainState(TypedDict):
    """State that a run resumes from; `step` counts within the epoch."""

    model: dict[str, Tensor]
    optimizers: list[dict[str, object]]
    epoch: int
    step: int
    metrics: Metrics


Keep = Callable[[TrainState], None]
"""Called with the state after an epoch, or within one."""


class Optimizers:
    """Adam for dense parameters, SparseAdam for the tables with sparse gradients, one schedule for both.

    Scalars and biases (parameters of at most one dimension) have a rate of their own and no weight decay.
    """

    def __init__(self, model: nn.Module, config: TrainerConfig, total_steps: int) -> None:
        tables = [table for table in model.modules() if isinstance(table, nn.Embedding)]
        sparse = [table.weight for table in tables if table.sparse]
        ids = {id(weight) for weight in sparse}
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        dense = [parameter for parameter in self.parameters if id(parameter) not in ids]
        rate = config.learning_rate
        groups = [
            {"params": [one for one in dense if one.ndim > 1], "lr": rate, "weight_decay": config.weight_decay},
            {
                "params": [one for one in dense if one.ndim <= 1],
                "lr": rate * config.scalar_rate_factor,
                "weight_decay": 0.0,
            },
        ]
        groups = [group for group in groups if group["params"]]
        self._all: list[torch.optim.Optimizer] = [torch.optim.AdamW(groups, fused=True)]
        if sparse:
            self._all.append(torch.optim.SparseAdam(sparse, lr=rate))
        course = _course(config, total_steps)
        self._schedules = [torch.optim.lr_scheduler.LambdaLR(optimizer, course) for optimizer in self._all]

    def step(self) -> None:
        """Averages the gradients over the workers, applies them and clears them."""
        average_gradients(self.parameters)
        for optimizer in self._all:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        for schedule in self._schedules:
            schedule.step()

    def state_dict(self) -> list[dict[str, object]]:
        """Everything that a resumed run needs."""
        return [part.state_dict() for part in self._all] + [part.state_dict() for part in self._schedules]

    def load_state_dict(self, state: list[dict[str, object]]) -> None:
        """Continues from `state_dict`."""
        for optimizer, values in zip(self._all, state, strict=False):
            optimizer.load_state_dict(values)
        for schedule, values in zip(self._schedules, state[len(self._all) :], strict=True):
            schedule.load_state_dict(values)


def use_sparse_gradients(model: nn.Module, above: int | None) -> None:
    """Gives embedding tables with more than `above` rows sparse gradients; None leaves all of them dense."""
    for table in model.modules():
        if isinstance(table, nn.Embedding):
            table.sparse = above is not None and table.num_embeddings > above


def keep_freed_memory() -> None:
    """Makes glibc's allocator keep the freed memory of this process.

    Otherwise the system takes back and clears the memory of every step's tensors, a tenth to a quarter of a step's
    time.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_M_MMAP_THRESHOLD, _KEEP_BYTES)
        libc.mallopt(_M_TRIM_THRESHOLD, _KEEP_BYTES)


def fit(
    task: Task,
    config: TrainerConfig,
    *,
    worker: int = 0,
    resume: TrainState | None = None,
    keep: Keep | None = None,
    progress: Progress | None = None,
    before_step: Callable[[], None] = lambda: None,
) -> Metrics:
    """Trains a task.

    Order of rows, dropout and negatives depend on seed, epoch, step and worker only, so a resumed run takes the same
    steps as an uninterrupted one.

    Args:
        task: model, rows and loss.
        config: see `TrainerConfig`.
        worker: this worker's number.
        resume: state that `keep` got in an earlier run.
        keep: called after every epoch and every `checkpoint_steps`.
        progress: called from time to time.
        before_step: called before every step.

    Returns:
        Metrics of the validation day, and of the last epoch `loss` and `rows_per_s` (this worker's, with its input).

    Raises:
        DataError: a worker has fewer than two rows.
        TrainingError: a loss, weight or metric is not finite; nothing of that state was kept.
    """
    num_steps = _steps_of_epoch(task, config)
    optimizers = Optimizers(task.model, config, config.epochs * num_steps)
    first_epoch, first_step, metrics = 0, 0, Metrics()
    if resume is not None:
        task.model.load_state_dict(resume["model"])
        optimizers.load_state_dict(resume["optimizers"])
        first_epoch, first_step, metrics = resume["epoch"], resume["step"], resume["metrics"]

    def kept(epoch: int, step: int) -> None:
        if keep is not None:
            model, optimizer = task.model.state_dict(), optimizers.state_dict()
            keep({"model": model, "optimizers": optimizer, "epoch": epoch, "step": step, "metrics": metrics})

    for epoch in range(first_epoch, config.epochs):
        place = epoch, first_step if epoch == first_epoch else 0, num_steps
        metrics = _train_epoch(task, config, optimizers, worker, place, kept, progress, before_step)
        metrics |= _evaluated(task, f"step {(epoch + 1) * num_steps}")
        kept(epoch + 1, 0)
    return metrics


def _steps_of_epoch(task: Task, config: TrainerConfig) -> int:
    """Steps that every worker takes, enough for the worker with most rows: workers exchange gradients at each step.

    A step has at least one unit of every worker.
    """
    device, num_rows = next(task.model.parameters()).device, task.units.num_rows
    fewest = smallest(num_rows, device)
    if fewest < 2:
        raise DataError(f"a worker has {fewest} training rows, expected 2 or more; give more days or lower num_workers")
    return min(math.ceil(largest(num_rows, device) / config.batch_size), smallest(len(task.units), device))


def _evaluated(task: Task, place: str) -> Metrics:
    """Validation metrics after a step.

    Raises:
        TrainingError: weights, scores or metrics are not finite.
    """
    check_weights(task.model, place)
    task.model.eval()
    try:
        with torch.no_grad():
            metrics = task.evaluate()
    except TrainingError as error:
        raise TrainingError(f"after {place}: {error.message}") from error
    for name, value in metrics.items():
        if not math.isfinite(value):
            raise TrainingError(f"after {place}: the metric {name} is {value}, expected a finite number; {FIX}")
    return metrics


def _train_epoch(
    task: Task,
    config: TrainerConfig,
    optimizers: Optimizers,
    worker: int,
    place: tuple[int, int, int],
    kept: Callable[[int, int], None],
    progress: Progress | None,
    before_step: Callable[[], None],
) -> Metrics:
    """Runs the steps of one epoch; `place` = (epoch, first step, number of steps)."""
    epoch, first, num_steps = place
    device, num_rows = next(task.model.parameters()).device, task.units.num_rows
    rng = np.random.default_rng([config.seed, epoch, worker])
    losses = Losses(epoch * num_steps, num_steps, device)
    share = num_rows * num_workers() / int(total(torch.tensor(num_rows, device=device)))
    task.model.train()
    started, rows_done = time.perf_counter(), 0
    with closing(epoch_batches(task.build, task.units, num_steps, rng, first)) as batches:
        for step, batch in enumerate(batches, first + 1):
            before_step()
            generator = _step_generator(config.seed, epoch, step, worker, device)
            loss = task.loss(batch.to(device), generator)
            torch.autograd.backward(loss * share)
            optimizers.step()
            losses.add(step, loss)
            rows_done += len(batch)
            is_kept = config.checkpoint_steps is not None and step % config.checkpoint_steps == 0
            if step % _REPORT_EVERY == 0 or step == num_steps or is_kept:
                mean, rows_per_s = losses.checked(), rows_done / (time.perf_counter() - started)
                if progress is not None:
                    progress(epoch * num_steps + step, config.epochs * num_steps, mean, rows_per_s)
            if is_kept and step < num_steps:
                check_weights(task.model, f"step {epoch * num_steps + step}")
                kept(epoch, step)
                task.model.train()
    return {"loss": losses.checked(), "rows_per_s": rows_done / (time.perf_counter() - started)}


def _step_generator(seed: int, epoch: int, step: int, worker: int, device: torch.device) -> torch.Generator:
    """The generator of a step's negatives; also seeds torch's own generator, which dropout uses."""
    number = int(np.random.SeedSequence([seed, epoch, step, worker]).generate_state(1, np.uint64)[0] >> 1)
    torch.manual_seed(number)
    return torch.Generator(device).manual_seed(number)


def _course(config: TrainerConfig, total_steps: int) -> Callable[[int], float]:
    """Share of the learning rate at a step."""
    warmup = min(config.warmup_steps, total_steps // 4)

    def share(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        if config.schedule == "constant":
            return 1.0
        passed = (step - warmup) / max(total_steps - warmup, 1)
        return _LAST_RATE + (1 - _LAST_RATE) * 0.5 * (1 + math.cos(math.pi * min(passed, 1.0)))

    return share
