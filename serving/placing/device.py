"""The device of the models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from contracts.errors import ConfigError

if TYPE_CHECKING:
    import torch

Device = Literal["auto", "cpu", "cuda"]


def model_device(wanted: Device) -> torch.device:
    """The torch device of a setting; replicas replace `auto`, which is the CPU elsewhere.

    Raises:
        ConfigError: a GPU is wanted and torch finds none.
    """
    import torch  # only where a model runs

    if wanted == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "device is 'cuda' and torch finds no GPU; give the replica one (ray_actor_options: {num_gpus: …}) and "
            "install torch with CUDA, or set device to 'auto' or 'cpu'"
        )
    return torch.device("cuda" if wanted == "cuda" else "cpu")
