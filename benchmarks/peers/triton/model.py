"""Triton loads this for every model: it joins the requests of a batch, calls the stage once, and splits its answer."""

import os
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from benchmarks.peers.triton.shop import opened_shop
from benchmarks.peers.triton.stages import OPENERS


class TritonPythonModel:
    """One of the fourteen models, by its name in Triton."""

    def initialize(self, args: dict[str, str]) -> None:
        """Opens what the model needs."""
        shop = opened_shop(os.environ["RECOMMENDER_PEER"])
        self._stage = OPENERS[args["model_name"]](shop)
        self._inputs = shop.models[args["model_name"]].inputs

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answers a batch of requests."""
        parts = [[pb_utils.get_input_tensor_by_name(one, name).as_numpy() for name in self._inputs] for one in requests]
        columns = parts[0] if len(parts) == 1 else [np.concatenate(column) for column in zip(*parts, strict=True)]
        outputs = self._stage(*columns)
        answers, start = [], 0
        for part in parts:
            stop = start + len(part[0])
            tensors = [pb_utils.Tensor(name, values[start:stop]) for name, values in outputs.items()]
            answers.append(pb_utils.InferenceResponse(output_tensors=tensors))
            start = stop
        return answers
