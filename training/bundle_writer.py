"""Makes an artifact bundle from the outputs of the earlier jobs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, cast

import numpy as np
from pydantic import JsonValue

from contracts import columns as c
from contracts.bloom import item_hashes
from contracts.bundle_layout import STRING_COLUMNS
from contracts.catalogue import ItemFeatures
from contracts.clock import day_to_name
from contracts.errors import DataError
from contracts.history import HistoryReach, StoredReader
from contracts.ids import LongArray
from contracts.messages import QueryFeatures
from contracts.model_entry import MODEL_CONFIG, ModelEntry
from training.bundle_parts import BundleParts, write_parts
from training.embeddings import open_embeddings
from training.features.events import EventTable
from training.features.processed import Processed, open_processed
from training.models.item_popularity import ItemPopularity
from training.models.loading import open_model, open_two_tower
from training.models.ranker import Ranker
from training.popularity import counts_by_day, decayed_counts, popular_by_category, popular_items, relative_popularity
from training.reference_stats import reference_stats
from training.score_stats import BundleStats, score_stats

NUM_REFERENCE_ROWS: Final = 20_000
NUM_SCORED_ROWS: Final = 256


@dataclass(frozen=True)
class BundleInputs:
    """Where the parts of a bundle come from.

    Attributes:
        processed_dir: of preprocessing.
        embeddings_dir: of embedding.
        two_tower_dir, ranker_dir: of the trainers.
        index_file: of `training.index.build_index`.
        index_metrics: of its summary.
        judged_dirs: folders of the models whose validation figures the manifest shows, `two_tower` and `ranker`; None =
            the bundle's own models.
        config: the job's config, as values.
        parent: bundle that it is made from.
        seed: of the sample that the reference statistics are taken from.
    """

    processed_dir: Path
    embeddings_dir: Path
    two_tower_dir: Path
    ranker_dir: Path
    index_file: Path
    index_metrics: Mapping[str, float] = field(default_factory=dict)
    judged_dirs: tuple[Path, Path] | None = None
    config: Mapping[str, JsonValue] = field(default_factory=dict)
    parent: str | None = None
    seed: int = 0


def write_bundle(inputs: BundleInputs, bundles_dir: Path, version: str) -> Path:
    """Writes, verifies and publishes `bundles_dir/version`.

    Raises:
        BundleError: the version exists with other content, or what was written does not open.
        DataError: an input is missing, or the inputs do not belong together.
    """
    return write_parts(collect_parts(inputs), bundles_dir, version)


def collect_parts(inputs: BundleInputs) -> BundleParts:
    """Reads and derives everything that the bundle holds."""
    processed = open_processed(inputs.processed_dir)
    embeddings = open_embeddings(inputs.embeddings_dir)
    info, table = processed.info, processed.items
    if len(embeddings.text) != len(table):
        raise DataError(f"embeddings of {len(embeddings.text)} items, the processed run has {len(table)}; embed again")
    items = processed.item_features(embeddings.text, embeddings.image)
    strings = {name: table[name].to_pylist() for name in STRING_COLUMNS}
    events = processed.events()
    counts = decayed_counts(events.item_row, events.timestamp, len(items), int(events.timestamp.max()))
    history, popularity = _history(inputs), _popularity(inputs, processed, events)
    judged = inputs.judged_dirs or (inputs.two_tower_dir, inputs.ranker_dir)
    return BundleParts(
        shop=info.shop,
        raw_dir=info.raw_dir,
        first_day=day_to_name(info.first_day),
        last_day=day_to_name(info.last_day),
        transforms=processed.transforms,
        items=items,
        strings=strings,
        values=processed.item_values(),
        has_text=embeddings.has_text,
        has_image=embeddings.has_image,
        bloom_hashes=item_hashes(strings[c.ITEM_ID]),
        popular=popular_items(counts),
        popular_by_category=popular_by_category(
            counts, {name: strings[name] for name in (c.CATEGORY_L1, c.CATEGORY_L2)}
        ),
        reference_stats=_reference_stats(inputs, processed, events, items, history, popularity),
        two_tower_dir=inputs.two_tower_dir,
        ranker_dir=inputs.ranker_dir,
        index_file=inputs.index_file,
        pca_files={name: inputs.embeddings_dir / f"{name}_pca.safetensors" for name in ("text", "image")},
        encoders=embeddings.encoders,
        history=history,
        seen_events=info.seen_events,
        metrics={
            **_metrics("two_tower", judged[0]),
            **_metrics("ranker", judged[1]),
            **inputs.index_metrics,
        },
        missing=info.missing,
        warnings=tuple(embeddings.warnings),
        config=inputs.config,
        parent=inputs.parent,
        ranker_popularity=None if popularity is None else popularity.since(info.test_day),
    )


def _history(inputs: BundleInputs) -> HistoryReach:
    """History length and age limit for both models."""
    folders = {"two_tower.model": inputs.two_tower_dir, "ranker.model": inputs.ranker_dir}
    readers = {name: StoredReader.of(_config(folder)) for name, folder in folders.items()}
    return HistoryReach.of(readers, DataError)


def _popularity(inputs: BundleInputs, processed: Processed, events: EventTable) -> ItemPopularity | None:
    """Popularity of the items from the first day to the day after the data; None if the ranker does not read it."""
    if not _config(inputs.ranker_dir).get("popularity", False):
        return None
    info, calendar = processed.info, processed.transforms.calendar
    after_data = info.last_day + 1
    counts = counts_by_day(
        events.item_row, events.timestamp, len(processed.items), calendar, info.first_day, after_data
    )
    return ItemPopularity(relative_popularity(counts), after_data, calendar)


def _reference_stats(
    inputs: BundleInputs,
    processed: Processed,
    events: EventTable,
    items: ItemFeatures,
    history: HistoryReach,
    popularity: ItemPopularity | None,
) -> BundleStats:
    """Histograms of features and scores on training days."""
    rows = events.rows_between(processed.info.first_day, processed.info.train_end_day)
    rng = np.random.default_rng(inputs.seed)
    sample = np.sort(rng.choice(rows, size=min(NUM_REFERENCE_ROWS, len(rows)), replace=False))
    stats = reference_stats(
        processed.schema, _queries(processed, events, sample, history), items, events.item_row[sample]
    )
    few = np.sort(rng.choice(sample, size=min(NUM_SCORED_ROWS, len(sample)), replace=False))
    scores = score_stats(
        open_two_tower(inputs.two_tower_dir, items),
        cast(Ranker, open_model(inputs.ranker_dir, items)),
        np.load(inputs.two_tower_dir / "candidate.npy", mmap_mode="r"),
        items,
        _queries(processed, events, few, history),
        processed.transforms.calendar,
        popularity,
    )
    return {**stats, "scores": scores}


def _queries(processed: Processed, events: EventTable, rows: LongArray, history: HistoryReach) -> QueryFeatures:
    return events.query_features(
        rows, processed.transforms, length=history.length, history_days=history.days, masked=False
    )


def _metrics(name: str, folder: Path) -> dict[str, float]:
    """The numbers of a model's metrics.json, under the model's name."""
    values = _read_json(folder / "metrics.json")
    return {f"{name}.{metric}": float(value) for metric, value in values.items() if isinstance(value, int | float)}


def _config(folder: Path) -> dict[str, JsonValue]:
    """The config of a trained model."""
    path = folder / MODEL_CONFIG
    return ModelEntry.of(_read_json(path), str(path)).config


def _read_json(path: Path) -> dict[str, JsonValue]:
    if not path.is_file():
        raise DataError(f"no file {path.name!r} in {path.parent}; run the job that writes it first")
    values: dict[str, JsonValue] = json.loads(path.read_text(encoding="utf-8"))
    return values
