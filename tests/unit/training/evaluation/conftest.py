"""The tiny shop's run and bundle."""

from __future__ import annotations

import pytest

from contracts.bundle import Bundle, open_bundle
from tests.fixtures.tiny_run import write_embeddings, write_models, write_processed
from training.bundle_writer import BundleInputs, write_bundle
from training.features.processed import Processed, open_processed


@pytest.fixture(scope="module")
def processed(tmp_path_factory: pytest.TempPathFactory) -> Processed:
    return open_processed(write_processed(tmp_path_factory.mktemp("run") / "processed"))


@pytest.fixture(scope="module")
def bundle(processed: Processed, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("bundle")
    models = write_models(folder / "models")
    inputs = BundleInputs(
        processed_dir=processed.path,
        embeddings_dir=write_embeddings(folder / "embeddings"),
        two_tower_dir=models / "two_tower",
        ranker_dir=models / "ranker",
        index_file=models / "faiss.index",
        index_metrics={"index.ann_recall@12": 1.0},
        config={"simulator": {"preset": "hard", "size": "debug"}},
    )
    return open_bundle(write_bundle(inputs, folder / "bundles", "v1"))
