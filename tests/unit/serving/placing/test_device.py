"""Where query tower and ranker run: a wish, what a replica was given, and what is there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import ray
import torch

from contracts.bundle import Bundle
from contracts.errors import ConfigError
from serving.config import ServingConfig
from serving.deployments.replica import with_device
from serving.pipeline import Fallbacks
from serving.placing.device import Device, model_device
from serving.stages.config import RetrievalConfig
from serving.stages.query_tower import QueryTower
from serving.stages.ranking import Ranking
from serving.stages.retrieval import Retrieval
from tests.fixtures.served_bundle import request_batch

NO_GPU = r"device is 'cuda' and torch finds no GPU; give the replica one \(ray_actor_options: \{num_gpus: …\}\)"


@contextmanager
def without_gpu() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: False)
        yield


def test_a_wish_for_what_is_not_there_is_refused(bundle: Bundle) -> None:
    with without_gpu():
        assert {model_device(wish) for wish in ("auto", "cpu")} == {torch.device("cpu")}
        for opened in (
            lambda: QueryTower.open(bundle, "cuda"),
            lambda: Retrieval.open(bundle, RetrievalConfig(), "cuda"),
            lambda: Ranking.open(bundle, "cuda"),
        ):
            with pytest.raises(ConfigError, match=NO_GPU):
                opened()


@pytest.mark.parametrize(
    ("wish", "given", "decided"),
    [("auto", [], "cpu"), ("auto", ["0"], "cuda"), ("cpu", ["0"], "cpu"), ("cuda", [], "cuda")],
)
def test_auto_is_what_ray_gave_the_replica(
    wish: Device, given: list[str], decided: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Context:  # Ray's, of a worker; there is none in this process
        def get_accelerator_ids(self) -> dict[str, list[str]]:
            return {"GPU": given}

    monkeypatch.setattr(ray, "get_runtime_context", Context)
    assert with_device(ServingConfig(device=wish)).device == decided


def scores(bundle: Bundle, device: Any) -> tuple[np.ndarray, np.ndarray]:
    fallbacks = Fallbacks.open(bundle, 20)
    queries = fallbacks.anonymous(request_batch(3)).features
    candidates = fallbacks.popular(queries)
    return QueryTower.open(bundle, device)(queries), Ranking.open(bundle, device)(queries, candidates).scores


def test_a_cpu_is_a_cpu(bundle: Bundle) -> None:
    for mine, theirs in zip(scores(bundle, "cpu"), scores(bundle, "auto"), strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU here")
def test_a_gpu_scores_as_a_cpu(bundle: Bundle) -> None:
    for mine, theirs in zip(scores(bundle, "cuda"), scores(bundle, "cpu"), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-5)
