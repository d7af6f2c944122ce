from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from ray_apps.console import EXIT_REFUSED, report_error
from training.models.inputs import ItemTensors
from training.models.loading import open_two_tower
from training.models.schema import ModelSchema
from training.models.two_tower import TwoTower, TwoTowerConfig
from training.trainers.config import TrainerConfig
from training.trainers.data import WorkerData
from training.trainers.ray_run import BuildTask, TrainJob, run_training
from training.trainers.retrieval import NegativesConfig, RetrievalTask
from training.trainers.steps.loop import Task, fit, use_sparse_gradients

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.filterwarnings(r"ignore::DeprecationWarning:ray\."),  # Ray's own settings
]

CONFIG = TrainerConfig(
    epochs=2, batch_size=32, learning_rate=0.01, warmup_steps=4, threads=1, sparse_above=20, checkpoint_steps=8
)


def task_builder(data: WorkerData, schema: ModelSchema, folder: Path, *, kill: bool) -> BuildTask:
    """Builds tasks of part of the rows; `kill` ends the worker's process once, in the middle of the second epoch.

    Everything is nested, so that it travels to the workers by value.
    """

    class ObservedTask(RetrievalTask):
        worker = 0
        steps = 0

        def loss(self, batch: Any, generator: torch.Generator) -> torch.Tensor:
            self.steps += 1
            if kill and self.steps == 35 and not (folder / "killed").exists():
                (folder / "killed").touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return super().loss(batch, generator)

        def evaluate(self) -> dict[str, float]:
            torch.save(self.model.state_dict(), folder / f"weights-{self.worker}.pt")
            torch.save(torch.get_num_threads(), folder / f"threads-{self.worker}.pt")
            return super().evaluate()

    def build(worker: int, num_workers: int, device: torch.device) -> Task:
        from dataclasses import replace

        part = replace(data, train_rows=data.train_rows[worker::num_workers])
        torch.manual_seed(CONFIG.seed)
        shape = TwoTowerConfig(output_dim=8, hidden_dims=(16,), history_length=4, history_dim=8, history_heads=2)
        model = TwoTower(shape, schema, ItemTensors(data.items, data.encoded_id))
        use_sparse_gradients(model, CONFIG.sparse_above)
        task = ObservedTask(model, part, NegativesConfig(source="in_batch", num_uniform=8), CONFIG.batch_size)
        task.worker = worker
        return task

    return build


@pytest.mark.usefixtures("local_ray")
def test_training_finishes_after_a_worker_was_killed(
    toy_data: WorkerData, toy_schema: ModelSchema, tmp_path: Path
) -> None:
    job = TrainJob("two_tower", {"a": task_builder(toy_data, toy_schema, tmp_path, kill=True)}, CONFIG)

    summary = run_training(job, tmp_path / "storage", tmp_path / "model")

    assert (tmp_path / "killed").exists()
    expected = task_builder(toy_data, toy_schema, tmp_path, kill=False)(0, 1, torch.device("cpu"))
    torch.set_num_threads(1)
    metrics = fit(expected, CONFIG)
    assert summary.metrics["a"]["recall@10"] == pytest.approx(metrics["recall@10"])
    trained = open_two_tower(tmp_path / "model" / "a", toy_data.items).state_dict()
    for name, value in expected.model.state_dict().items():
        torch.testing.assert_close(trained[name], value, msg=lambda text, name=name: f"{name}: {text}")
    assert json.loads((tmp_path / "model" / "a" / "metrics.json").read_text()) == summary.metrics["a"]
    assert not (tmp_path / "storage" / job.run_name).exists()


@pytest.mark.usefixtures("local_ray")
def test_a_killed_run_of_several_parts_goes_on_in_its_part(
    toy_data: WorkerData, toy_schema: ModelSchema, tmp_path: Path
) -> None:
    builds = []
    for name, kill in (("first", False), ("second", True)):
        (tmp_path / name).mkdir()
        builds.append(task_builder(toy_data, toy_schema, tmp_path / name, kill=kill))

    def count_builds(worker: int, num_workers: int, device: torch.device) -> Task:
        with (tmp_path / "first" / "builds").open("a") as file:
            file.write("x")
        return builds[0](worker, num_workers, device)

    job = TrainJob("two_tower", {"first": count_builds, "second": builds[1]}, CONFIG)

    summary = run_training(job, tmp_path / "storage", tmp_path / "model")

    assert (tmp_path / "second" / "killed").exists()
    assert (tmp_path / "first" / "builds").read_text() == "x"  # it was done before the worker died
    assert summary.metrics["first"]["recall@10"] == pytest.approx(summary.metrics["second"]["recall@10"])
    first, second = (open_two_tower(tmp_path / "model" / part, toy_data.items).state_dict() for part in job.parts)
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, msg=lambda text, name=name: f"{name}: {text}")
    assert "2 models" in str(summary)


@pytest.mark.usefixtures("local_ray")
def test_two_workers_keep_their_replicas_identical(
    toy_data: WorkerData, toy_schema: ModelSchema, tmp_path: Path
) -> None:
    config = CONFIG.model_copy(update={"num_workers": 2})
    job = TrainJob("two_tower", {"a": task_builder(toy_data, toy_schema, tmp_path, kill=False)}, config)

    summary = run_training(job, tmp_path / "storage", tmp_path / "model")

    first, second = (torch.load(tmp_path / f"weights-{worker}.pt", weights_only=True) for worker in range(2))
    for name, value in first.items():
        assert torch.equal(value, second[name]), name
    assert summary.metrics["a"]["recall@10"] > 0.8


@pytest.mark.usefixtures("local_ray")
def test_a_worker_has_fewer_threads_where_others_need_the_cores(
    toy_data: WorkerData, toy_schema: ModelSchema, tmp_path: Path
) -> None:
    build = task_builder(toy_data, toy_schema, tmp_path, kill=False)

    def build_on_busy_machine(worker: int, num_workers: int, device: torch.device) -> Task:
        from contracts import cores

        cores._PERIOD_S, cores.psutil.cpu_percent = 0.0, lambda: 1_000.0  # of this worker's process
        task = build(worker, num_workers, device)
        torch.save(torch.get_num_threads(), tmp_path / "before.pt")
        return task

    config = CONFIG.model_copy(update={"threads": 2, "epochs": 1})
    run_training(TrainJob("two_tower", {"a": build_on_busy_machine}, config), tmp_path / "storage", tmp_path / "model")
    assert [torch.load(tmp_path / name) for name in ("before.pt", "threads-0.pt")] == [2, 1]


def test_runs_of_other_configs_or_inputs_have_other_names(toy_data: WorkerData, toy_schema: ModelSchema) -> None:
    build = task_builder(toy_data, toy_schema, Path(), kill=False)
    configs = (CONFIG, CONFIG, CONFIG.model_copy(update={"seed": 1}))
    names = [TrainJob("two_tower", {"a": build}, config, (Path("a"),)).run_name for config in configs]
    names.append(TrainJob("two_tower", {"a": build}, CONFIG, (Path("b"),)).run_name)

    assert names[0] == names[1]
    assert len(set(names)) == 3
    assert names[0].startswith("two_tower-")


@pytest.mark.usefixtures("local_ray")
def test_a_run_that_diverges_says_so_and_leaves_no_model(
    toy_data: WorkerData, toy_schema: ModelSchema, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def build(worker: int, num_workers: int, device: torch.device) -> Task:
        task = task_builder(toy_data, toy_schema, tmp_path, kill=False)(worker, num_workers, device)
        with torch.no_grad():
            next(task.model.parameters()).fill_(torch.nan)
        return task

    job = TrainJob("two_tower", {"a": build}, CONFIG.model_copy(update={"max_failures": 0}))

    with pytest.raises(Exception, match="loss of step 1 is nan") as raised:
        run_training(job, tmp_path / "storage", tmp_path / "model")

    assert report_error(raised.value) == EXIT_REFUSED
    assert "error: the loss of step 1 is nan, expected a finite number" in capsys.readouterr().err
    assert not (tmp_path / "model").exists()
