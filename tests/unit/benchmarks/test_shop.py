from __future__ import annotations

import shutil
from pathlib import Path

from benchmarks.shop import with_reference_ranker
from tests.fixtures.served_bundle import VERSION, write_served_bundle
from training.models.dlrm import DLRM
from training.models.loading import load_ranker


def test_the_reference_ranker_stands_beside_the_bundle_and_is_made_anew_when_it_cannot_be_opened(
    tmp_path: Path,
) -> None:
    bundle = write_served_bundle(tmp_path)

    made = with_reference_ranker(bundle)

    assert made.version == f"{VERSION}-reference"
    ranker = load_ranker(made)
    assert isinstance(ranker, DLRM)
    assert ranker.config.history_length == 0
    assert ranker.config.price_in_bottom
    assert load_ranker(bundle).config.history_length == 4  # type: ignore[attr-defined]
    stamp = made.path.stat().st_mtime_ns
    assert with_reference_ranker(bundle).path.stat().st_mtime_ns == stamp
    shutil.rmtree(made.path / "ranker")
    assert isinstance(load_ranker(with_reference_ranker(bundle)), DLRM)
