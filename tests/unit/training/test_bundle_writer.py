"""From the folders of the jobs to a bundle."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from contracts.bloom import item_hashes
from contracts.bundle import open_bundle
from contracts.clock import DAY_S
from contracts.columns import EVENTS
from contracts.errors import DataError
from contracts.history import HistoryReach
from contracts.presets import SHOP
from tests.fixtures.tiny_run import LAST_DAY, NUM_ITEMS, write_embeddings, write_models, write_processed
from training.bundle_writer import BundleInputs, write_bundle
from training.features.processed import open_processed
from training.models.item_popularity import ItemPopularity
from training.popularity import decayed_counts, relative_popularity
from training.trainers.data import load_worker_data


@pytest.fixture
def inputs(tmp_path: Path) -> BundleInputs:
    models = write_models(tmp_path / "models")
    return BundleInputs(
        processed_dir=write_processed(tmp_path / "processed"),
        embeddings_dir=write_embeddings(tmp_path / "embeddings"),
        two_tower_dir=models / "two_tower",
        ranker_dir=models / "ranker",
        index_file=models / "faiss.index",
        index_metrics={"index.ann_recall@12": 1.0},
        config={"shop": "tiny"},
    )


def test_every_part_finds_its_place(inputs: BundleInputs, tmp_path: Path) -> None:
    bundle = open_bundle(write_bundle(inputs, tmp_path / "bundles", "v1"))
    manifest = bundle.manifest
    assert (manifest.first_day, manifest.last_day) == ("2026-01-01", "2026-01-14")
    assert (manifest.embedding_dim, manifest.history) == (8, HistoryReach(length=4, days=30))
    assert (manifest.seen_events, manifest.reads_popularity) == (EVENTS, False)
    assert manifest.schema_digest == SHOP.digest == bundle.schema.digest
    assert [vectors.shape[1] for vectors in bundle.items.columns.vectors] == [4, 4]
    assert manifest.metrics == {
        "two_tower.recall@10": 0.25,
        "two_tower.epochs": 2.0,
        "ranker.recall@10": 0.25,
        "ranker.epochs": 2.0,
        "index.ann_recall@12": 1.0,
    }
    assert manifest.warnings == ("the picture encoder is a stand-in",)
    assert manifest.config == {"shop": "tiny"}
    np.testing.assert_array_equal(bundle.array("bloom/hashes"), item_hashes(list(bundle.strings("items/item_id"))))
    assert np.isnan(bundle.array("values/price")[2])
    assert list(bundle.strings("items/gender"))[:2] == [None, "F"]
    assert not bundle.array("items/has_image")[2]
    assert not bundle.array("items/withdrawn").any()


def test_popular_lists_hold_what_was_chosen_and_only_that(inputs: BundleInputs, tmp_path: Path) -> None:
    bundle = open_bundle(write_bundle(inputs, tmp_path / "bundles", "v1"))
    popular = bundle.array("popularity/global").tolist()
    lists = bundle.json("popularity/by_category.json")["category_l1"]
    assert len(set(popular)) == len(popular) == NUM_ITEMS
    assert sorted(row for rows in lists.values() for row in rows) == sorted(popular)
    assert lists["toys"] == [row for row in popular if row % 3 == 2]


def test_served_popularity_is_what_the_ranker_was_trained_with(inputs: BundleInputs, tmp_path: Path) -> None:
    models = write_models(tmp_path / "reading", popularity=True)
    reading = dataclasses.replace(inputs, two_tower_dir=models / "two_tower", ranker_dir=models / "ranker")
    bundle = open_bundle(write_bundle(reading, tmp_path / "bundles", "v1"))
    served = ItemPopularity.open(bundle)
    processed = open_processed(inputs.processed_dir)
    data = load_worker_data(processed, bundle.items, worker=0, num_workers=1, validation_rows=1)
    rows, owners = np.arange(NUM_ITEMS, dtype=np.int32), np.zeros(NUM_ITEMS, dtype=np.int64)

    trained = data.popularity_by_day(torch.device("cpu")).numpy()

    assert served is not None
    for second in (0, DAY_S - 1):  # of the test day
        now = np.array([LAST_DAY * DAY_S + second])
        np.testing.assert_array_equal(served.of(rows, owners, now), trained[-1])
    counts = decayed_counts(data.events.item_row, data.events.timestamp, NUM_ITEMS, now=(LAST_DAY + 1) * DAY_S)
    for days in (1, 5):  # after the data: all of it counts
        now = np.array([(LAST_DAY + days) * DAY_S])
        np.testing.assert_allclose(served.of(rows, owners, now), relative_popularity(counts), rtol=1e-5)


def test_a_ranker_that_does_not_read_popularity_has_none(inputs: BundleInputs, tmp_path: Path) -> None:
    bundle = open_bundle(write_bundle(inputs, tmp_path / "bundles", "v1"))
    assert ItemPopularity.open(bundle) is None
    assert "ranker/popularity.npy" not in bundle.manifest.files


def test_reference_statistics_are_of_the_training_days(inputs: BundleInputs, tmp_path: Path) -> None:
    stats = open_bundle(write_bundle(inputs, tmp_path / "bundles", "v1")).json("reference_stats.json")
    assert stats["num_rows"] == 5 * 24
    for feature in stats["features"].values():
        counts = feature["counts"]
        assert sum(counts.values() if feature["kind"] == "categorical" else counts) == stats["num_rows"]
    for scores in stats["scores"].values():
        assert sum(scores["counts"]) == stats["num_rows"] * 10
    assert 0 < min(stats["scores"]["ranking"]["edges"]) < max(stats["scores"]["ranking"]["edges"]) < 1


def test_equal_inputs_give_equal_files(inputs: BundleInputs, tmp_path: Path) -> None:
    first, second = (open_bundle(write_bundle(inputs, tmp_path / name, "v1")) for name in ("one", "two"))
    assert first.manifest.files == second.manifest.files


def test_models_that_disagree_on_the_age_of_history_are_refused(inputs: BundleInputs, tmp_path: Path) -> None:
    config = {"name": "ranker", "config": {"history_length": 4, "history_days": 7}, "schema": {}}
    (inputs.ranker_dir / "config.json").write_text(json.dumps(config))
    with pytest.raises(DataError, match=r"history_days=30 differs from ranker.model.history_days=7; both"):
        write_bundle(inputs, tmp_path / "bundles", "v1")


def test_embeddings_of_another_catalogue_are_refused(inputs: BundleInputs, tmp_path: Path) -> None:
    np.save(inputs.embeddings_dir / "text.npy", np.zeros((3, 4), dtype=np.float32))
    with pytest.raises(DataError, match="embeddings of 3 items, the processed run has 12; embed again"):
        write_bundle(inputs, tmp_path / "bundles", "v1")


def test_a_model_that_was_not_trained_is_named(inputs: BundleInputs, tmp_path: Path) -> None:
    missing = dataclasses.replace(inputs, ranker_dir=tmp_path / "nothing")
    with pytest.raises(DataError, match=r"no file 'config.json' in .*nothing; run the job that writes it first"):
        write_bundle(missing, tmp_path / "bundles", "v1")
