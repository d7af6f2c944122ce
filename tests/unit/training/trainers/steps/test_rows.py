from __future__ import annotations

from dataclasses import replace

import pytest

from contracts.errors import DataError
from tests.unit.training.trainers.steps.test_loop import CONFIG, make_task
from training.models.schema import ModelSchema
from training.trainers.data import WorkerData
from training.trainers.steps.loop import fit


def test_a_small_shop_is_one_batch(toy_data: WorkerData, toy_schema: ModelSchema) -> None:
    config = CONFIG.model_copy(update={"batch_size": 5_000, "epochs": 2})
    sizes = []

    task = make_task(toy_data, toy_schema, config)
    loss = task.loss
    task.loss = lambda batch, generator: (sizes.append(len(batch)), loss(batch, generator))[1]  # type: ignore[method-assign,func-returns-value]
    fit(task, config)

    assert sizes == [960, 960]


def test_a_single_row_is_refused(toy_data: WorkerData, toy_schema: ModelSchema) -> None:
    one = replace(toy_data, train_rows=toy_data.train_rows[:1])

    with pytest.raises(DataError, match="a worker has 1 training rows, expected 2 or more; give more days or lower"):
        fit(make_task(one, toy_schema, CONFIG), CONFIG)
