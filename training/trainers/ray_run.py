"""Runs the loop with Ray Train: workers, checkpoints, restarts, progress; writes the trained model to one folder."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, Protocol

import ray.train
import torch
from ray.experimental import tqdm_ray
from ray.train.torch import TorchConfig, TorchTrainer, get_device

from contracts.cores import ThreadsByLoad
from contracts.files import atomic_dir
from training.models.loading import save_model
from training.trainers.config import TrainerConfig
from training.trainers.steps.loop import Metrics, Progress, Task, TrainState, fit, keep_freed_memory

logger = logging.getLogger(__name__)

_STATE: Final = "state.pt"
_MODELS: Final = "models"
_METRICS: Final = "metrics.json"
BuildTask = Callable[[int, int, torch.device], Task]
"""Builds a worker's task from its number, the number of workers and its device."""


@dataclass(frozen=True)
class TrainSummary:
    """Result of a training run.

    Attributes:
        metrics: by part, of the validation day, and `loss` and `rows_per_s` of the last epoch.
        seconds: wall time, including the start of the workers.
        out_dir: folder of the parts' folders.
    """

    metrics: Mapping[str, Metrics]
    seconds: float
    out_dir: Path

    def __str__(self) -> str:
        """The figures of the first part that was validated."""
        validated = [metrics for metrics in self.metrics.values() if len(metrics) > 2]
        figures = (validated or list(self.metrics.values()))[0]
        shown = ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
        others = f"; {len(self.metrics)} models" if len(self.metrics) > 1 else ""
        return f"{shown}{others}"


@dataclass(frozen=True)
class TrainJob:
    """One training run, as every worker gets it: models that are trained one after the other by the same workers.

    Attributes:
        name: `two_tower` or the name of a ranker.
        parts: builds the worker's task of each part, by name, in order; a part may read the folders of those before.
        config: loop, optimizers and workers.
        inputs: folders that the run reads; with the config they identify the run.
    """

    name: str
    parts: Mapping[str, BuildTask]
    config: TrainerConfig
    inputs: tuple[Path, ...] = field(default=())

    @property
    def run_name(self) -> str:
        """Name of the folder of checkpoints: an interrupted run continues there, a run with another config does not."""
        identity = [self.config.model_dump_json(), *self.parts, *(str(path.resolve()) for path in self.inputs)]
        return f"{self.name}-{hashlib.sha256(chr(0).join(identity).encode()).hexdigest()[:12]}"


def run_training(job: TrainJob, storage_dir: Path, out_dir: Path) -> TrainSummary:
    """Trains with Ray Train and writes the folder of each part; an earlier one is replaced.

    Ray must be initialised; every node must see `storage_dir` and the job's inputs. An interrupted run continues from
    its last checkpoint, whether a worker or this process was lost.

    Args:
        job: what to train.
        storage_dir: folder of checkpoints, and of the parts that are done, until the run is done.
        out_dir: a folder for each part, see `training.models.loading`, with metrics.json.
    """
    config, started = job.config, time.perf_counter()
    run_dir = storage_dir.resolve() / job.run_name
    trainer = TorchTrainer(
        partial(_train_worker, job, run_dir / _MODELS),
        scaling_config=ray.train.ScalingConfig(
            num_workers=config.num_workers,
            use_gpu=config.use_gpu,
            resources_per_worker={"CPU": 1, **({"GPU": 1} if config.use_gpu else {})},
        ),
        torch_config=TorchConfig(backend="nccl" if config.use_gpu else "gloo"),
        run_config=ray.train.RunConfig(
            name=job.run_name,
            storage_path=str(storage_dir.resolve()),
            failure_config=ray.train.FailureConfig(max_failures=config.max_failures),
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=1),
        ),
    )
    trainer.fit()
    with atomic_dir(out_dir) as folder:
        shutil.copytree(run_dir / _MODELS, folder, dirs_exist_ok=True)
    metrics = {part: json.loads((out_dir / part / _METRICS).read_text(encoding="utf-8")) for part in job.parts}
    shutil.rmtree(run_dir, ignore_errors=True)
    return TrainSummary(metrics, time.perf_counter() - started, out_dir)


def _train_worker(job: TrainJob, models: Path) -> None:
    """Code of every worker: trains the parts that are not done, from the run's checkpoint if there is one."""
    resume = None
    threads = ThreadsByLoad(job.config.threads, torch.set_num_threads, fixed=job.config.fixed_threads)
    keep_freed_memory()
    if (checkpoint := ray.train.get_checkpoint()) is not None:
        with checkpoint.as_directory() as folder:
            resume = torch.load(Path(folder) / _STATE, weights_only=True)
    for part in job.parts:
        if not (models / part).exists():
            state = None if resume is None or resume["part"] != part else resume["state"]
            _train_part(job, part, models, state, threads.follow)


def _train_part(
    job: TrainJob, part: str, models: Path, resume: TrainState | None, before_step: Callable[[], None]
) -> None:
    """Trains one part; worker 0 writes its folder."""
    context = ray.train.get_context()
    worker = context.get_world_rank()
    torch.manual_seed(job.config.seed)  # all workers start from the same weights
    task = job.parts[part](worker, context.get_world_size(), get_device())
    if resume is not None:
        logger.info("%s, %s, continues at epoch %d, step %d", job.name, part, resume["epoch"], resume["step"])
    progress, close = _progress_bar(f"{job.name} {part}") if worker == 0 else (None, lambda: None)
    keep = partial(_report, part, worker)
    try:
        metrics = fit(
            task, job.config, worker=worker, resume=resume, keep=keep, progress=progress, before_step=before_step
        )
    finally:
        close()
    if worker == 0:
        with atomic_dir(models / part) as folder:
            save_model(job.name, task.model, folder)
            (folder / _METRICS).write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    ray.train.report(metrics)  # the others wait for the folder, which the next part may read


def _report(part: str, worker: int, state: TrainState) -> None:
    """Reports metrics to Ray Train, and from worker 0 a checkpoint."""
    metrics = state["metrics"]
    if worker != 0:
        ray.train.report(metrics)
        return
    with tempfile.TemporaryDirectory() as folder:
        torch.save({"part": part, "state": state}, Path(folder) / _STATE)
        ray.train.report(metrics, checkpoint=ray.train.Checkpoint.from_directory(folder))


class _Bar(Protocol):
    """The used part of Ray's progress bar, which has no types."""

    def set_description(self, desc: str) -> None: ...
    def update(self, n: int) -> None: ...
    def close(self) -> None: ...


def _progress_bar(name: str) -> tuple[Progress, Callable[[], None]]:
    """A progress bar on the driver's terminal, and how to close it."""
    bars: list[_Bar] = []
    shown = 0

    def progress(done: int, steps: int, loss: float, rows_per_s: float) -> None:
        nonlocal shown
        if not bars:
            bars.append(tqdm_ray.tqdm(desc=name, total=steps, unit="step"))
        bars[0].set_description(f"{name}: loss {loss:.3f}, {rows_per_s:,.0f} rows/s")
        bars[0].update(done - shown)
        shown = done

    def close() -> None:
        for bar in bars:
            bar.close()

    return progress, close
