from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from contracts.clock import DAY_S
from contracts.config import validate
from contracts.errors import ConfigError
from contracts.features import SESSION_GAP_S
from training.features.events import EventTable
from training.features.masking import MASK_ALL
from training.features.windows import EventWindows
from training.models.inputs import ItemTensors
from training.models.schema import ModelSchema
from training.models.sequence import SequenceEncoder
from training.models.two_tower import TwoTower, TwoTowerConfig
from training.trainers.data import WorkerData

LENGTH, DAYS = 8, 3
START = 1_000 * DAY_S


def build(schema: ModelSchema, items: ItemTensors, **transformer: object) -> TwoTower:
    torch.manual_seed(0)
    config = {"history": "transformer", "history_length": LENGTH, "history_days": DAYS, "history_heads": 2}
    model = TwoTower(TwoTowerConfig(**config, history_dim=8, transformer=transformer), schema, items).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    return model


def gaps(*seconds: int) -> list[int]:
    """Times of one subject from the gaps between its events."""
    return (START + np.cumsum([0, *seconds])).tolist()


HISTORIES = {
    "one session": gaps(60, 5, 600, 1_200),
    "just inside of a session": gaps(60, SESSION_GAP_S - 1, 30),
    "just after a session": gaps(60, SESSION_GAP_S, 30, SESSION_GAP_S + 1),
    "days": gaps(DAY_S, 40_000, 20),
    "at the age limit": gaps(DAYS * DAY_S),
    "past the age limit": gaps(DAYS * DAY_S + 1, 5),
    "equal times": gaps(0, 0, 0, 700),
    "one event": gaps(),
    "as long as a history": gaps(*(60 * (number + 1) for number in range(LENGTH))),
}


def with_events(data: WorkerData, times: list[int]) -> WorkerData:
    """One subject with events at these times, all trained, over some new items, too."""
    count, events = len(times), data.events
    rows = (np.arange(count) * 7 + 25).astype(np.int32) % len(data.items)
    table = replace(
        _head(events, count),
        item_row=rows,
        timestamp=np.array(times, dtype=np.int64),
        mask=np.zeros(count, dtype=np.uint8),
    )
    return replace(data, events=table, train_rows=np.arange(count))


def _head(events: EventTable, count: int) -> EventTable:
    part = np.arange(count)
    names = ("subject", "item_row", "timestamp", "day", "positive", "seen", "mask", "mask_device", "mask_item")
    arrays = {name: getattr(events, name)[part] for name in names}
    return replace(
        events,
        subject_ids=events.subject_ids[:1],
        offsets=np.array([0, count]),
        profile=events.profile.take(np.array([0])),
        context=events.context.take(part),
        label=None,
        **arrays | {"subject": np.zeros(count, dtype=np.int32)},
    )


def both(model: TwoTower, data: WorkerData) -> tuple[Tensor, Tensor]:
    """Embeddings of all events, in their window and from a message with the event's own history."""
    windows = EventWindows.cut(data.events, data.train_rows, LENGTH + 1)
    in_window = data.batch_of_windows(windows, np.arange(len(windows)), masked=False)
    alone = data.batch(data.train_rows, history_length=LENGTH, history_days=DAYS, masked=False)
    with torch.no_grad():
        return model.query(in_window.queries, in_window.windows), model.query(alone.queries)


@pytest.mark.parametrize("blocks", [1, 2, 3])
@pytest.mark.parametrize("times", HISTORIES.values(), ids=HISTORIES.keys())
def test_an_event_has_the_same_embedding_in_its_window_and_alone(
    toy_schema: ModelSchema, toy_tensors: ItemTensors, toy_data: WorkerData, times: list[int], blocks: int
) -> None:
    model = build(toy_schema, toy_tensors, blocks=blocks)

    in_window, alone = both(model, with_events(toy_data, times))

    torch.testing.assert_close(in_window, alone, atol=1e-5, rtol=0)
    assert len(torch.unique(in_window.round(decimals=3), dim=0)) == len(times)  # the histories matter


def test_one_block_forgets_what_the_message_of_a_later_event_no_longer_holds(
    toy_schema: ModelSchema, toy_tensors: ItemTensors, toy_data: WorkerData
) -> None:
    data = with_events(toy_data, gaps(DAYS * DAY_S, 5))  # the second event sees the first, the third does not

    in_window, alone = both(build(toy_schema, toy_tensors), data)

    torch.testing.assert_close(in_window, alone, atol=1e-5, rtol=0)


def test_prepared_items_give_the_same(toy_schema: ModelSchema, toy_tensors: ItemTensors, toy_data: WorkerData) -> None:
    model, data = build(toy_schema, toy_tensors), with_events(toy_data, HISTORIES["days"])
    _, expected = both(model, data)

    model.prepare()

    _, prepared = both(model, data)
    torch.testing.assert_close(prepared, expected, atol=1e-5, rtol=0)


def test_windows_that_see_half_of_a_history_are_near_it_only(
    toy_schema: ModelSchema, toy_tensors: ItemTensors, toy_data: WorkerData
) -> None:
    model = build(toy_schema, toy_tensors)

    in_window, alone = both(model, with_events(toy_data, gaps(*[60] * 20)))

    # windows of 9 events with steps of 4: the first trains events 0 … 8, with all of their histories
    torch.testing.assert_close(in_window[:9], alone[:9], atol=1e-5, rtol=0)
    assert not torch.allclose(in_window[9], alone[9], atol=1e-3)


def test_later_events_do_not_matter(toy_schema: ModelSchema, toy_tensors: ItemTensors, toy_data: WorkerData) -> None:
    model, data = build(toy_schema, toy_tensors, blocks=2), with_events(toy_data, HISTORIES["days"])
    other = data.events.item_row.copy()
    other[-2:] = 0
    expected, _ = both(model, data)

    changed, _ = both(model, replace(data, events=replace(data.events, item_row=other)))

    torch.testing.assert_close(changed[:-1], expected[:-1], atol=1e-5, rtol=0)
    assert not torch.allclose(changed[-1], expected[-1], atol=1e-3)


def test_hidden_histories_are_empty(toy_schema: ModelSchema, toy_tensors: ItemTensors, toy_data: WorkerData) -> None:
    model, data = build(toy_schema, toy_tensors), with_events(toy_data, HISTORIES["one session"])
    hidden = replace(data, events=replace(data.events, mask=np.full(5, MASK_ALL, dtype=np.uint8)))
    windows = EventWindows.cut(hidden.events, hidden.train_rows, LENGTH + 1)

    batch = hidden.batch_of_windows(windows, np.arange(1), masked=True)

    assert batch.windows is not None
    encoder = model.query_tower.history
    assert isinstance(encoder, SequenceEncoder)
    vectors, count = encoder.at_events(toy_tensors, batch.windows)
    assert not vectors.any()
    assert not count.any()


@pytest.mark.parametrize("bias", ["time_bias", "position_bias", "session_bias"])
def test_each_bias_can_be_switched_off(
    toy_schema: ModelSchema, toy_tensors: ItemTensors, toy_data: WorkerData, bias: str
) -> None:
    # all biases off but one: only that one can tell these histories apart
    off = {name: name == bias for name in ("time_bias", "position_bias", "session_bias")}
    without = dict.fromkeys(off, False)
    models = [build(toy_schema, toy_tensors, **switches) for switches in (off, without)]
    assert len(models[0].state_dict()) == len(models[1].state_dict()) + 1
    slow, fast = gaps(60, 60, 60, 60), gaps(9_000, 9_000, 60, 60)

    def last(model: TwoTower, times: list[int], *, reordered: bool) -> Tensor:
        data = with_events(toy_data, times)
        if reordered:
            rows = data.events.item_row.copy()
            rows[[0, 1]] = rows[[1, 0]]
            data = replace(data, events=replace(data.events, item_row=rows))
        encoder = model.query_tower.history
        assert encoder is not None
        queries = data.batch(data.train_rows[-1:], history_length=LENGTH, history_days=DAYS, masked=False).queries
        with torch.no_grad():
            return encoder(toy_tensors, queries)[:, 0]

    def differs(model: TwoTower) -> bool:
        if bias == "position_bias":
            return not torch.allclose(last(model, slow, reordered=False), last(model, slow, reordered=True))
        return not torch.allclose(last(model, slow, reordered=False), last(model, fast, reordered=False))

    assert differs(models[0])
    assert not differs(models[1])


def test_what_a_transformer_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match="history=transformer with history_length=0: a transformer needs a history"):
        validate(TwoTowerConfig, {"history": "transformer", "history_length": 0}, source="two_tower.model")
    with pytest.raises(ConfigError, match="history_dim=64 and history_heads=5: all heads have an equal share"):
        validate(TwoTowerConfig, {"history": "transformer", "history_heads": 5}, source="two_tower.model")
