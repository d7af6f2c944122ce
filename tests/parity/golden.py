"""Recorded answers: what a bundle that is never trained again once answered to every visitor.

`python -m tests.parity.golden` records anew: only after a change that is meant to change answers.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import tempfile
from pathlib import Path
from typing import Final

from serving.config import ServingConfig
from serving.stores.config import EmbeddedRedisConfig, StoreConfig
from serving.stores.embedded import EmbeddedRedis
from tests.fixtures.filled_stores import fill_stores
from tests.fixtures.served_bundle import NOW, copy_recorded_bundle
from tests.parity.answers import Answer, called_directly
from tests.parity.visitors import all_visitors

_ANSWERS: Final = Path(__file__).parent / "recorded_answers.json.gz"


def golden_answers() -> list[Answer]:
    """What the recorded bundle answered to `all_visitors`."""
    answers: list[Answer] = json.loads(gzip.decompress(_ANSWERS.read_bytes()))
    return answers


def main() -> None:
    """Records the answers of the recorded bundle."""
    with (
        tempfile.TemporaryDirectory() as folder,
        EmbeddedRedis(EmbeddedRedisConfig(data_dir=Path(folder) / "redis")) as redis,
    ):
        bundle = copy_recorded_bundle(Path(folder))
        stores = StoreConfig(
            shop=bundle.manifest.shop, address=redis.address, feast_dir=Path(folder) / "feast", read_timeout_ms=60_000
        )
        fill_stores(stores, redis.address)
        config = ServingConfig(simulated_now=NOW, stores=stores)
        answers = asyncio.run(called_directly(all_visitors(), bundle, config, redis.address, batch_size=1))
    for answer in answers:
        answer.get("explanation", {}).pop("stage_ms", None)
    _ANSWERS.write_bytes(gzip.compress(json.dumps(answers).encode(), mtime=0))


if __name__ == "__main__":
    main()
