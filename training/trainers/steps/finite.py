"""Ends training if a loss or a weight is NaN or infinite, and names it."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from contracts.errors import TrainingError

FIX: Final = "lower learning_rate or look for extreme values in the features and labels"


class Losses:
    """Losses of the steps of an epoch, kept on the device, so that adding one does not wait for it.

    Args:
        before: number of steps of earlier epochs, for messages.
        num_steps: of the epoch.
        device: of the losses.
    """

    def __init__(self, before: int, num_steps: int, device: torch.device) -> None:
        self._before = before
        self._values = torch.zeros(num_steps, device=device)
        self._first: int | None = None
        self._last = 0

    def add(self, step: int, loss: Tensor) -> None:
        """Adds the loss of a step, counted from 1 in the epoch; a resumed run may start at a later step."""
        self._first = step - 1 if self._first is None else self._first
        self._values[step - 1] = loss.detach()
        self._last = step

    def checked(self) -> float:
        """Mean of all losses so far; 0 before the first.

        Raises:
            TrainingError: one of them is not finite.
        """
        if self._first is None:
            return 0.0
        values = self._values[self._first : self._last].cpu()
        broken = (~values.isfinite()).nonzero()
        if len(broken):
            place = int(broken[0])
            step = self._before + self._first + place + 1
            raise TrainingError(f"the loss of step {step} is {float(values[place])}, expected a finite number; {FIX}")
        return float(values.mean())


def check_weights(model: nn.Module, place: str) -> None:
    """Refuses parameters and buffers that are not finite.

    Args:
        model: the trained model.
        place: the step before, for the message.

    Raises:
        TrainingError: names the first one.
    """
    state = {name: value for name, value in model.state_dict().items() if value.is_floating_point()}
    finite = torch.stack([value.isfinite().all() for value in state.values()]).tolist()
    for name, is_finite in zip(state, finite, strict=True):
        if not is_finite:
            raise TrainingError(f"after {place}: the weight {name} is NaN or infinite; {FIX}")
