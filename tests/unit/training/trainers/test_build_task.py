from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from contracts.catalogue import ItemFeatures
from contracts.errors import ConfigError, DataError
from contracts.history import HistoryReach
from contracts.ids import FloatArray, IntArray, LongArray
from contracts.transforms import FittedTransforms
from training.features.events import EventTable
from training.features.processed import ProcessedInfo
from training.models.loading import save_model
from training.models.two_tower import TwoTowerConfig
from training.trainers import ranker, two_tower
from training.trainers.data import WorkerData, load_worker_data
from training.trainers.forward import ForwardTask
from training.trainers.ranker import RankerTrainConfig
from training.trainers.ranking import LabelTask, RankingTask
from training.trainers.two_tower import TwoTowerTrainConfig

CPU, HERE = torch.device("cpu"), Path()
TOWERS = TwoTowerConfig(output_dim=4, history_length=2, history_dim=4, history_heads=1)


@dataclass(frozen=True)
class OpenedRun:
    """What a trainer asks of a processed run; each partition holds all events."""

    data: WorkerData
    info: ProcessedInfo
    num_partitions: int = 3

    @property
    def transforms(self) -> FittedTransforms:
        return self.data.transforms

    @property
    def item_encoded_id(self) -> IntArray:
        return self.data.encoded_id

    @property
    def launched_at(self) -> LongArray:
        return self.data.items.launched_at

    def item_features(self, text: FloatArray, image: FloatArray) -> ItemFeatures:
        return self.data.items

    def events(self, partitions: Sequence[int]) -> EventTable:
        return self.data.events


@dataclass(frozen=True)
class OpenedEmbeddings:
    text: FloatArray
    image: FloatArray


@pytest.fixture
def run(toy_data: WorkerData, monkeypatch: pytest.MonkeyPatch) -> OpenedRun:
    days = {"first_day": 20_000, "train_end_day": 20_011, "validation_day": 20_012, "validation_end_day": 20_012}
    info = ProcessedInfo(
        fingerprint="f", shop="s", raw_dir="r", timezone="UTC", test_day=20_013, last_day=20_013, counts={},
        kept_out={}, missing=(), has_labels=True, seen_events=("view",), **days,
    )  # fmt: skip
    opened = OpenedRun(toy_data, info)
    for module in (two_tower, ranker):
        monkeypatch.setattr(module, "open_processed", lambda path: opened)
        monkeypatch.setattr(module, "open_embeddings", lambda path: OpenedEmbeddings(*toy_data.items.columns.vectors))
    return opened


@pytest.fixture
def two_tower_dir(run: OpenedRun, tmp_path: Path) -> Path:
    task = two_tower.build_task(TwoTowerTrainConfig(model=TOWERS), HERE, HERE, 0, 1, CPU)
    for part in ("earlier", "trained", "refit"):
        folder = tmp_path / "two_tower" / part
        folder.mkdir(parents=True)
        save_model("two_tower", task.model, folder)
    return tmp_path / "two_tower"


def ranker_task(config: RankerTrainConfig, two_tower_dir: Path, part: str = "trained", **last_days: int) -> RankingTask:
    days = last_days or {"trained": 20_011}
    return ranker.build_task(config, HERE, HERE, two_tower_dir, 0, 1, CPU, part=part, last_days=days)


def test_a_worker_gets_the_days_of_the_split(run: OpenedRun) -> None:
    data = load_worker_data(run, run.data.items, worker=0, num_workers=1, validation_rows=8)  # type: ignore[arg-type]

    events = data.events
    assert set(events.day[data.train_rows].tolist()) == set(range(20_000, 20_012))
    assert set(events.day[data.validation_rows].tolist()) == {20_012}
    assert len(data.validation_rows) == 8
    assert len(np.unique(data.validation_rows)) == 8
    assert data.num_days == 14


def test_rows_without_a_label_are_not_labelled(run: OpenedRun, toy_events: EventTable) -> None:
    assert toy_events.label is not None
    label = toy_events.label.copy()
    label[:100] = np.nan
    unlabelled = replace(run, data=replace(run.data, events=replace(toy_events, label=label)))

    data = load_worker_data(unlabelled, run.data.items, worker=0, num_workers=1, validation_rows=8)  # type: ignore[arg-type]

    assert set(data.labelled_rows.tolist()) == set(data.train_rows[data.train_rows >= 100].tolist())


def test_more_workers_than_partitions_are_refused(run: OpenedRun) -> None:
    with pytest.raises(ConfigError, match="num_workers is 4, the processed run has 3 partitions; lower num_workers"):
        two_tower.build_task(TwoTowerTrainConfig(num_workers=4), HERE, HERE, 0, 4, CPU)


def test_training_can_start_from_a_trained_two_tower(run: OpenedRun, two_tower_dir: Path) -> None:
    config = TwoTowerTrainConfig(model=TOWERS, init_from=two_tower_dir / "trained")
    torch.manual_seed(9)

    first = two_tower.build_task(config, HERE, HERE, 0, 1, CPU).model.state_dict()
    torch.manual_seed(10)
    second = two_tower.build_task(config, HERE, HERE, 0, 1, CPU).model.state_dict()

    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.usefixtures("run")
def test_other_history_days_than_the_two_towers_are_refused(two_tower_dir: Path) -> None:
    config = RankerTrainConfig.model_validate({"model": {"history_days": 7}})

    with pytest.raises(
        ConfigError,
        match=r"history_days=30 differs from ranker.model.history_days=7; both models",
    ):
        ranker_task(config, two_tower_dir)


@pytest.mark.usefixtures("run")
def test_a_ranker_without_history_does_not_shorten_the_retrievers(two_tower_dir: Path) -> None:
    config = RankerTrainConfig.model_validate({"model": {"history_days": 1, "history_length": 0}})

    task = ranker_task(config, two_tower_dir)

    assert task._reach == HistoryReach(length=2, days=30)  # as the two-tower reads it
    rows = task.data.train_rows[-4:]
    read = task.data.events.history(rows, 2, 30)
    assert task._inputs(rows, masked=False).queries.history_rows.tolist() == read.rows.tolist()


def test_labels_have_to_be_there(
    run: OpenedRun, two_tower_dir: Path, toy_events: EventTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = RankerTrainConfig(ranker_rows="label")
    assert isinstance(ranker_task(config, two_tower_dir), LabelTask)
    without = replace(run, data=replace(run.data, events=replace(toy_events, label=None)))
    monkeypatch.setattr(ranker, "open_processed", lambda path: without)

    with pytest.raises(DataError, match="ranker_rows is label, but the interactions have no label column"):
        ranker_task(config, two_tower_dir)


@pytest.mark.usefixtures("run")
def test_a_ranker_starts_from_a_trained_one(two_tower_dir: Path, tmp_path: Path) -> None:
    trained = ranker_task(RankerTrainConfig(), two_tower_dir)
    folder = tmp_path / "ranker"
    folder.mkdir()
    save_model("dlrm", trained.model, folder)

    task = ranker_task(RankerTrainConfig(init_from=folder), two_tower_dir)

    weights = task.model.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in trained.model.state_dict().items())


FORWARD = RankerTrainConfig.model_validate(
    {"ranker": "mlp", "scores": "forward", "objective": {"negatives": "list"}, "mlp": {"history_length": 2}}
)


@pytest.mark.usefixtures("run")
@pytest.mark.parametrize(
    ("part", "days", "trained"),
    [
        ("trained", {"earlier": 20_008, "trained": 20_011}, {(day, 0) for day in (9, 10, 11)}),
        (
            "refit",
            {"earlier": 20_008, "trained": 20_011, "refit": 20_012},
            {(9, 0), (10, 0), (11, 0), (12, 1)},
        ),
    ],
)
def test_each_retriever_scores_the_days_that_it_has_not_seen(
    two_tower_dir: Path, part: str, days: dict[str, int], trained: set[tuple[int, int]]
) -> None:
    task = ranker_task(FORWARD, two_tower_dir, part, **days)

    assert isinstance(task, ForwardTask)
    batch = task.build(task.units.ids)
    assert set(zip(batch.day.tolist(), batch.fold.tolist(), strict=True)) == trained
    own, of_folds = task.model.counts, task._counts
    # every day has 80 events, and three partitions of this run hold all of them
    assert own is not None
    assert [int(one.total.sum()) for one in (*of_folds, own)] == [
        3 * 40 * (day - 20_000 + 1) for day in [*list(days.values())[: len(of_folds)], days[part]]
    ]


@pytest.mark.usefixtures("run")
def test_models_of_the_validation_days_have_no_validation_rows(two_tower_dir: Path) -> None:
    config = TwoTowerTrainConfig(model=TOWERS)

    task = two_tower.build_task(config, HERE, HERE, 0, 1, CPU, last_day=20_012)

    assert task.data.events.day[task.data.train_rows].max() == 20_012
    assert len(task.data.validation_rows) == 0
    with torch.no_grad():
        assert task.evaluate() == {}
        assert ranker_task(RankerTrainConfig(), two_tower_dir, "refit", refit=20_012).evaluate() == {}


@pytest.mark.usefixtures("run")
def test_a_model_knows_the_items_of_its_training_days_only(run: OpenedRun, monkeypatch: pytest.MonkeyPatch) -> None:
    item_row = run.data.events.item_row.copy()
    item_row[item_row == 4] = 5
    item_row[run.data.events.day == 20_012] = 4
    changed = replace(run, data=replace(run.data, events=replace(run.data.events, item_row=item_row)))
    monkeypatch.setattr(two_tower, "open_processed", lambda path: changed)
    config = TwoTowerTrainConfig(model=TOWERS)

    ids = [
        two_tower.build_task(config, HERE, HERE, 0, 1, CPU, last_day=day).data.encoded_id for day in (20_011, 20_012)
    ]

    assert [one[4] for one in ids] == [0, 5]
    assert [one[5] for one in ids] == [6, 6]
