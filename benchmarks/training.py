"""Measures training: rows per second of both models with their input path, of plain loops, and of the simulator.

The shop has the reference's shape: 300,000 users, 2,465 items, 64 components of text and picture. One worker, two
threads, batches of 1,024 rows (two-tower, in-batch softmax) and 16,384 scored rows (DLRM, a positive and 5 negatives).

A plain loop trains the same model with the same loss on the same rows, in the simplest way: inputs are built when they
are needed, the softmax is torch's own over a stored matrix of logits, every pair of the DLRM is a row of its own, and
all gradients are dense (Adam), or those of the embedding tables sparse (SparseAdam). They take turns, so that other
load of the machine slows them alike; a ratio is the median over the rounds.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.common import Figure, parse, report, spread
from benchmarks.training_data import QUICK, REFERENCE, random_shop
from training.losses import accidental_hits, sampled_bce_loss, sampled_softmax_loss
from training.models.dlrm import DLRM, DLRMConfig
from training.models.inputs import CandidateGroup, ItemTensors
from training.models.schema import ModelSchema
from training.models.two_tower import TwoTower, TwoTowerConfig
from training.negatives import in_batch_negatives
from training.simulator import SimulatorConfig, simulate
from training.trainers.config import TrainerConfig
from training.trainers.data import Batch, WorkerData
from training.trainers.ranking import RankerLossConfig, RankingTask
from training.trainers.retrieval import NegativesConfig, RetrievalTask
from training.trainers.steps.batches import epoch_batches
from training.trainers.steps.loop import Optimizers, Task, keep_freed_memory, use_sparse_gradients

THREADS = 2
BATCH = 1_024
NUM_NEGATIVES = 5
SCORED_ROWS = 16_384
RATE = 1e-3
REFERENCE_TOWERS = TwoTowerConfig(history_length=0, item_age=False, id_dropout=0.0, user_dropout=0.0)
REFERENCE_DLRM = DLRMConfig(
    history_length=0, item_age=False, retrieval_score=False, price_in_bottom=True, id_dropout=0.0, user_dropout=0.0
)

Step = Callable[[], int]
"""Takes one training step and returns its number of rows."""
PlainLoss = Callable[[nn.Module, Batch, torch.Generator], Tensor]


def main(argv: Sequence[str] | None = None) -> None:
    """The command line."""
    arguments = parse("training", __doc__ or "", argv)
    torch.set_num_threads(THREADS)
    keep_freed_memory()
    data = random_shop(QUICK if arguments.quick else REFERENCE)
    rounds, seconds = (1, 0.3) if arguments.quick else (7, 4.0)
    figures = two_tower_figures(data, rounds, seconds) | dlrm_figures(data, rounds, seconds)
    report(figures | {"simulator_events_per_s": simulator_figure(quick=arguments.quick)}, arguments.json)


def two_tower_figures(data: WorkerData, rounds: int, seconds: float) -> dict[str, Figure]:
    """The reference's recipe, its plain loops, and the recipe with our default history."""
    steps = {
        "ours": ours(two_tower_task(data, REFERENCE_TOWERS), BATCH, 1),
        "history": ours(two_tower_task(data, TwoTowerConfig()), BATCH, 1),
        "dense": plain(_two_tower(data, REFERENCE_TOWERS), data, plain_softmax, BATCH, 1, sparse=False),
        "sparse": plain(_two_tower(data, REFERENCE_TOWERS), data, plain_softmax, BATCH, 1, sparse=True),
    }
    rates = take_turns(steps, rounds, seconds)
    return {
        "two_tower_rows_per_s_b1024": spread(rates["ours"], "rows/s"),
        "two_tower_rows_per_s_b1024_history": spread(rates["history"], "rows/s"),
        "two_tower_vs_dense_adam": ratio(rates["ours"], rates["dense"]),
        "two_tower_vs_sparse_adam": ratio(rates["ours"], rates["sparse"]),
    }


def dlrm_figures(data: WorkerData, rounds: int, seconds: float) -> dict[str, Figure]:
    """The reference's recipe and its plain loops; a positive with 5 negatives is 6 scored rows."""
    scored, batch = NUM_NEGATIVES + 1, SCORED_ROWS // (NUM_NEGATIVES + 1)
    steps = {
        "ours": ours(dlrm_task(data), batch, scored),
        "dense": plain(_dlrm(data), data, plain_bce, batch, scored, sparse=False),
        "sparse": plain(_dlrm(data), data, plain_bce, batch, scored, sparse=True),
    }
    rates = take_turns(steps, rounds, seconds)
    return {
        "dlrm_scored_rows_per_s": spread(rates["ours"], "scored rows/s"),
        "dlrm_vs_dense_adam": ratio(rates["ours"], rates["dense"]),
        "dlrm_vs_sparse_adam": ratio(rates["ours"], rates["sparse"]),
    }


def two_tower_task(data: WorkerData, config: TwoTowerConfig) -> RetrievalTask:
    """The reference's retrieval task: in-batch softmax without logQ correction."""
    return RetrievalTask(
        _two_tower(data, config), data, NegativesConfig(source="in_batch", logq_correction=False), BATCH
    )


def dlrm_task(data: WorkerData) -> RankingTask:
    """The reference's ranking task: a positive with its in-batch negatives, each a scored row."""
    loss = RankerLossConfig(loss="bce", negatives="in_batch", num_negatives=NUM_NEGATIVES, logq_correction=False)
    return RankingTask(_dlrm(data), _two_tower(data, TwoTowerConfig(history_length=0)), data, loss)


def simulator_figure(*, quick: bool) -> Figure:
    """Events per second of a whole simulation, written tables and pictures included."""
    config = SimulatorConfig(size="debug") if quick else SimulatorConfig(num_users=48_000, num_events=2_000_000)
    with tempfile.TemporaryDirectory() as folder:
        summary = simulate(config, Path(folder) / "raw")
    return Figure(summary.num_events / summary.seconds, "events/s")


def ours(task: Task, batch_size: int, scored: int) -> Step:
    """A step of the trainer."""
    config = TrainerConfig(batch_size=batch_size, learning_rate=RATE, threads=THREADS)
    use_sparse_gradients(task.model, config.sparse_above)
    optimizers = Optimizers(task.model, config, 1_000_000)
    batches, generator = _endless(task, batch_size), torch.Generator().manual_seed(0)
    task.model.train()

    def step() -> int:
        batch = next(batches)
        task.loss(batch, generator).backward()  # type: ignore[no-untyped-call]
        optimizers.step()
        return len(batch) * scored

    return step


def plain(model: nn.Module, data: WorkerData, loss: PlainLoss, batch_size: int, scored: int, *, sparse: bool) -> Step:
    """A step of the plain loop."""
    use_sparse_gradients(model, 0 if sparse else None)
    tables = [table.weight for table in model.modules() if isinstance(table, nn.Embedding) and sparse]
    others = [parameter for parameter in model.parameters() if not any(parameter is table for table in tables)]
    optimizers: list[torch.optim.Optimizer] = [torch.optim.Adam(others, lr=RATE)]
    if sparse:
        optimizers.append(torch.optim.SparseAdam(tables, lr=RATE))
    rng, generator = np.random.default_rng(0), torch.Generator().manual_seed(0)
    model.train()

    def step() -> int:
        rows = rng.choice(data.train_rows, batch_size)
        batch = data.batch(rows, history_length=0, history_days=30, masked=True)
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss(model, batch, generator).backward()  # type: ignore[no-untyped-call]
        for optimizer in optimizers:
            optimizer.step()
        return batch_size * scored

    return step


def plain_softmax(model: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
    """In-batch softmax over a matrix of logits."""
    assert isinstance(model, TwoTower)
    target = torch.arange(len(batch))
    logits = model.query(batch.queries) @ model.candidate(batch.positives, batch.hidden).T
    hits = accidental_hits(batch.positives, batch.positives, target)
    return sampled_softmax_loss(logits, target, excluded=hits)


def plain_bce(model: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
    """Every pair of a query and a candidate is a row of its own."""
    assert isinstance(model, DLRM)
    negatives = in_batch_negatives(batch.positives, NUM_NEGATIVES, generator)
    rows = torch.cat([batch.positives[:, None], negatives], dim=1)
    queries = batch.queries.take(torch.arange(len(batch)).repeat_interleave(rows.shape[1]))
    flat = rows.view(-1, 1)
    logits = model.logits(queries, CandidateGroup(flat, torch.zeros(flat.shape), torch.zeros_like(flat)))
    excluded = rows == batch.positives[:, None]
    excluded[:, 0] = False
    return sampled_bce_loss(logits.view(rows.shape), torch.zeros_like(batch.positives), excluded=excluded)


def take_turns(steps: dict[str, Step], rounds: int, seconds: float) -> dict[str, list[float]]:
    """Rows per second of each, by round; a first round does not count."""
    rates: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(rounds + 1):
        for name, step in steps.items():
            started, rows = time.perf_counter(), 0
            while (passed := time.perf_counter() - started) < seconds or rows == 0:
                rows += step()
            if number > 0:
                rates[name].append(rows / passed)
    return rates


def ratio(rates: list[float], others: list[float]) -> Figure:
    """Speed-ups by round."""
    return spread([rate / other for rate, other in zip(rates, others, strict=True)], "times")


def _endless(task: Task, batch_size: int) -> Iterator[Batch]:
    rng, num_batches = np.random.default_rng(0), -(-task.units.num_rows // batch_size)
    while True:
        yield from epoch_batches(task.build, task.units, num_batches, rng)


def _two_tower(data: WorkerData, config: TwoTowerConfig) -> TwoTower:
    torch.manual_seed(0)
    return TwoTower(config, ModelSchema.of(data.transforms, data.items), ItemTensors(data.items, data.encoded_id))


def _dlrm(data: WorkerData) -> DLRM:
    torch.manual_seed(0)
    schema = ModelSchema.of(data.transforms, data.items)
    return DLRM(REFERENCE_DLRM, schema, ItemTensors(data.items, data.encoded_id))


if __name__ == "__main__":
    main(sys.argv[1:])
