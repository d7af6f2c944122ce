"""Communication between the workers of a training run; a single worker sends nothing."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn


def num_workers() -> int:
    """Workers of this run; 1 outside a distributed run."""
    return dist.get_world_size() if dist.is_initialized() else 1


def total(values: Tensor) -> Tensor:
    """The sum over all workers, in place."""
    if num_workers() > 1:
        dist.all_reduce(values)
    return values


def smallest(value: int, device: torch.device) -> int:
    """The smallest value that any worker has."""
    return _reduced(value, device, dist.ReduceOp.MIN)


def largest(value: int, device: torch.device) -> int:
    """The largest value that any worker has."""
    return _reduced(value, device, dist.ReduceOp.MAX)


def _reduced(value: int, device: torch.device, operation: dist.ReduceOp.RedOpType) -> int:
    tensor = torch.tensor(value, device=device)
    if num_workers() > 1:
        dist.all_reduce(tensor, op=operation)
    return int(tensor)


def average_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Replaces every gradient by its mean over the workers, so that all workers take the same step.

    Dense gradients are sent as one flat vector. Sparse embedding tables send touched rows only, as (rows, gradients): a
    whole table would be a thousand times as large as the batch.
    """
    if num_workers() == 1:
        return
    dense: list[Tensor] = []
    for parameter in parameters:
        gradient = parameter.grad
        if gradient is not None and gradient.is_sparse:
            parameter.grad = _mean_of_sparse(gradient)
            continue
        if gradient is None:  # every worker has to send the same number of values
            parameter.grad = gradient = torch.zeros_like(parameter)
        dense.append(gradient)
    flat = torch.cat([gradient.flatten() for gradient in dense])
    dist.all_reduce(flat)
    flat /= num_workers()
    for gradient, mean in zip(dense, torch.split(flat, [gradient.numel() for gradient in dense]), strict=True):
        gradient.copy_(mean.view_as(gradient))


def _mean_of_sparse(gradient: Tensor) -> Tensor:
    gradient = gradient.coalesce()
    rows = _gather(gradient.indices()[0])
    values = _gather(gradient.values())
    mean = torch.sparse_coo_tensor(rows[None], values / num_workers(), gradient.shape, check_invariants=False)
    return mean.coalesce()


def _gather(local: Tensor) -> Tensor:
    """The concatenated tensors of all workers; first dimensions may differ."""
    sizes = [torch.zeros(1, dtype=torch.int64, device=local.device) for _ in range(num_workers())]
    dist.all_gather(sizes, torch.tensor([len(local)], device=local.device))
    longest = int(torch.cat(sizes).max())
    padded = local.new_zeros((longest, *local.shape[1:]))
    padded[: len(local)] = local
    parts = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(parts, padded)
    return torch.cat([part[: int(size)] for part, size in zip(parts, sizes, strict=True)])
