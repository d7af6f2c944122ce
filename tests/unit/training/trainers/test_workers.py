from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn

from training.trainers.workers import average_gradients, num_workers, smallest, total

NUM_WORKERS = 2


def exchange(rank: int, folder: str) -> None:
    """What one of two workers does; its results are compared by the test."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=NUM_WORKERS)
    table, dense, idle = nn.Embedding(6, 2, sparse=True), nn.Linear(2, 1, bias=False), nn.Parameter(torch.ones(2))
    nn.init.ones_(table.weight)
    nn.init.ones_(dense.weight)
    rows = torch.tensor([[1, 1, 4], [4, 5, 5]])[rank][: 3 - rank]  # worker 1 looks up fewer rows
    dense(table(rows)).sum().backward()
    average_gradients([table.weight, dense.weight, idle])
    assert table.weight.grad is not None
    results = {
        "table": table.weight.grad.to_dense(),
        "sparse": torch.tensor(table.weight.grad.is_sparse),
        "dense": dense.weight.grad,
        "idle": idle.grad,
        "total": total(torch.tensor([1.0 + rank])),
        "smallest": torch.tensor(smallest(7 - rank, torch.device("cpu"))),
    }
    torch.save(results, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_workers_get_the_same_mean_gradients(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=exchange, args=(rank, str(tmp_path))) for rank in range(NUM_WORKERS)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
        assert worker.exitcode == 0

    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(NUM_WORKERS))

    for name, value in first.items():
        torch.testing.assert_close(value, second[name], rtol=0, atol=0)
    # A row's gradient is (1, 1) a lookup: rows 1, 1, 4 by worker 0, rows 4, 5 by worker 1, halved.
    expected = torch.tensor([0.0, 1.0, 0.0, 0.0, 1.0, 0.5])[:, None].expand(6, 2)
    torch.testing.assert_close(first["table"], expected)
    assert first["sparse"].item()
    torch.testing.assert_close(first["dense"], torch.tensor([[2.5, 2.5]]))  # 3 and 2 rows of ones, halved
    assert first["idle"].tolist() == [0.0, 0.0]
    assert first["total"].tolist() == [3.0]
    assert first["smallest"].item() == 6


def test_a_single_worker_keeps_its_gradients() -> None:
    parameter = nn.Parameter(torch.ones(2))
    parameter.grad = torch.tensor([1.0, 2.0])

    average_gradients([parameter])

    assert num_workers() == 1
    assert parameter.grad.tolist() == [1.0, 2.0]
    assert total(torch.tensor([4.0])).tolist() == [4.0]
    assert smallest(3, torch.device("cpu")) == 3
