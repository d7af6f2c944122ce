"""Training reads what was sent: the context of events, from a posted body through records to the models' inputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from contracts import columns as c
from contracts.clock import DAY_S, ShopCalendar
from contracts.encoded import EncodedColumns
from contracts.feature import Feature, Side
from contracts.interactions import Interaction, decode, encode
from contracts.presets import FeaturesConfig
from contracts.schema import SideLayout
from recommender_api.interactions import InteractionEvent
from serving.gateway.record.events import EventDecoder
from serving.gateway.shop.context import ContextReader
from serving.gateway.shop.types import shop_types
from serving.interactions.records import RecordWriter
from tests.fixtures.plain_preprocess import run_without_ray
from tests.fixtures.raw_tables import FIRST_DAY, START
from tests.unit.training.features.test_extra_columns import write_raw
from training.compaction import CompactConfig, compact
from training.features import preprocess as job
from training.features.config import PreprocessConfig
from training.features.processed import Processed, open_processed

SCHEMA = FeaturesConfig.model_validate(
    {
        "columns": [
            {"name": "country", "side": "query", "source": "context", "kind": "categorical"},
            {"name": "words", "side": "query", "source": "context", "kind": "categories"},
            {"name": "place", "side": "query", "source": "context", "kind": "vector", "length": 2},
        ]
    }
).to_schema()
SENT = {
    "e1": '{"country": "DE", "words": ["lamp", "b"], "place": [0.5, 1.5]}',
    "e2": '{"country": "nowhere", "words": []}',
    "e3": '{"words": ["a", "unheard of", "a"], "place": [7, -3]}',
    "e4": "null",
    "e5": '{"country": 7}',
}


def posted(event_id: str, context: str) -> InteractionEvent:
    body = f'{{"item_id": "i1", "event": "click", "user_id": "u1", "event_id": "{event_id}", "context": {context}}}'
    (event,) = EventDecoder(shop_types(SCHEMA))(body.encode())
    assert isinstance(event, InteractionEvent), event
    return event


def recorded(events: list[InteractionEvent], folder: Path) -> None:
    """As gateway and consumer write them: through the stream's form, then compacted."""
    reader, writer = ContextReader(SCHEMA), RecordWriter(folder, ShopCalendar("UTC"))
    at = START + 3 * DAY_S
    for number, event in enumerate(events):
        interaction = Interaction(
            event_id=str(event.event_id),
            item_id=event.item_id,
            event=event.event,
            timestamp=at + number,
            accepted_at=at + number,
            user_id=event.user_id,
            context=reader.values(event.context),
        )
        writer.interactions([(decode(encode(interaction)), 1000 * (at + number))])
    compact(folder, CompactConfig(), at + DAY_S)


def declared_of(columns: EncodedColumns, features: tuple[Feature, ...]) -> tuple[np.ndarray, ...]:
    """The inputs of the declared columns."""
    layout, own = SCHEMA.layout(Side.QUERY), SideLayout.of(features)
    codes = columns.codes[:, [layout.codes.index(name) for name in own.codes]]
    lists = [columns.lists[layout.lists.index(name)] for name in own.lists]
    return codes, *lists, *(columns.vectors[layout.vectors.index(name)] for name in own.vectors)


def trained(processed: Processed, features: tuple[Feature, ...]) -> dict[str, tuple[np.ndarray, ...]]:
    events, names = processed.events(), processed.event_ids()
    rows = np.flatnonzero(np.isin(names, list(SENT)))
    found = events.query_features(rows, processed.transforms, length=0, history_days=1, masked=False)
    inputs = declared_of(found.columns, features)
    return {str(names[row]): tuple(array[place] for array in inputs) for place, row in enumerate(rows)}


@pytest.mark.parametrize("compacted_twice", [False, True])
def test_training_reads_what_was_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compacted_twice: bool) -> None:
    monkeypatch.setattr(job, "_run", run_without_ray)
    raw, records = write_raw(tmp_path / "raw"), tmp_path / "records"
    events = [posted(name, context) for name, context in SENT.items()]
    recorded(events, records)
    if compacted_twice:
        compact(records, CompactConfig(), START + 9 * DAY_S)
    job.preprocess(
        PreprocessConfig(),
        raw,
        tmp_path / "processed",
        shop="tiny",
        records_dir=records,
        records_end=FIRST_DAY + 8,
        schema=SCHEMA,
    )
    processed = open_processed(tmp_path / "processed")
    features = tuple(one for one in SCHEMA.read_from("context") if one.column_name != c.DEVICE_TYPE)
    offline, reader = trained(processed, features), ContextReader(SCHEMA)
    assert set(offline) == set(SENT)
    for event in events:
        told = reader.columns([reader.values(event.context)])
        online = processed.transforms.side(Side.QUERY, told, 1)
        for ours, theirs in zip(offline[str(event.event_id)], declared_of(online, features), strict=True):
            np.testing.assert_array_equal(ours, theirs[0], err_msg=str(event.event_id))
    assert offline["e1"][0] > 0
    assert (offline["e2"][0], offline["e4"][0]) == (0, 0)
    assert offline["e1"][-1].tolist() == [0.5, 1.5]
