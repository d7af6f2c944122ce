"""The Ray Data parts of embedding: hashing pictures, and encoding what the cache lacks with a pool of actors."""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path
from typing import Final

import pyarrow as pa
import ray
import ray.data
from ray.data import ActorPoolStrategy
from ray.util.annotations import RayDeprecationWarning

from contracts.errors import DataError
from training.embeddings.cache import VectorCache
from training.embeddings.config import ImageEncoderConfig, PoolConfig
from training.embeddings.encoders import CONTENT, ERROR, HASH, ImageEncoder, TextEncoder
from training.embeddings.pictures import read_picture

_KILLED: Final = (
    ray.exceptions.RayActorError,
    ray.exceptions.WorkerCrashedError,
    ray.exceptions.OutOfMemoryError,
)
_ROWS_PER_TASK: Final = 128
_ROWS_PER_SHARD: Final = 4096


def hash_pictures(
    locations: list[str | None], base: Path, limits: ImageEncoderConfig
) -> tuple[list[str | None], list[str | None]]:
    """Content hashes, and the errors of pictures that cannot be read or are too large; None where there is no picture.

    Refused pictures get no hash, so that they are checked again when the limits change.
    """
    rows = [row for row, location in enumerate(locations) if location]
    hashes: list[str | None] = [None] * len(locations)
    errors: list[str | None] = [None] * len(locations)
    if not rows:
        return hashes, errors

    def hash_batch(batch: pa.Table) -> pa.Table:
        found = [_hash_picture(location, base, limits) for location in batch[CONTENT].to_pylist()]
        columns = [batch["row"], *(pa.array(values, pa.string()) for values in zip(*found, strict=True))]
        return pa.table(columns, names=["row", HASH, ERROR])

    table = pa.table({"row": rows, CONTENT: [locations[row] for row in rows]})
    hashed = ray.data.from_arrow(_slices(table, _ROWS_PER_SHARD)).map_batches(
        hash_batch, batch_size=None, batch_format="pyarrow"
    )
    for answer in hashed.take_all():
        hashes[answer["row"]], errors[answer["row"]] = answer[HASH], answer[ERROR]
    return hashes, errors


def _hash_picture(location: str, base: Path, limits: ImageEncoderConfig) -> tuple[str | None, str | None]:
    try:
        return hashlib.sha256(read_picture(location, base, limits)).hexdigest(), None
    except DataError as error:
        return None, error.message


def encode_missing(
    contents: dict[str, str],
    cache: VectorCache,
    encoder: type[TextEncoder | ImageEncoder],
    arguments: dict[str, object],
    pool: PoolConfig,
) -> int:
    """Encodes the contents (by hash) that the cache lacks; returns their number.

    Raises:
        DataError: an encoder was killed; vectors encoded before are in the cache.
    """
    keys = list(contents)
    absent = cache.missing(keys)
    wanted = sorted((key for key, missing in zip(keys, absent, strict=True) if missing), key=lambda k: len(contents[k]))
    if not wanted:
        return 0
    table = pa.table({HASH: wanted, CONTENT: [contents[key] for key in wanted]})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RayDeprecationWarning)  # Ray 2.60 has no other way to set max_restarts
        encoded = ray.data.from_arrow(_slices(table, _ROWS_PER_TASK)).map_batches(
            encoder,
            fn_constructor_kwargs=arguments,
            batch_size=None,
            batch_format="pyarrow",
            compute=ActorPoolStrategy(size=pool.pool_size),
            num_cpus=pool.num_cpus,
            num_gpus=pool.num_gpus,
            max_restarts=pool.max_restarts,
        )
    waiting: list[pa.Table] = []
    try:
        for block in encoded.iter_batches(batch_size=None, batch_format="pyarrow"):
            waiting.append(block)
            if sum(len(part) for part in waiting) >= _ROWS_PER_SHARD:
                cache.append(pa.concat_tables(waiting))
                waiting = []
    except _KILLED as error:
        raise DataError(
            f"an encoder was killed ({str(error).strip().splitlines()[0]}), most likely because memory was short; what "
            "was encoded is kept, so run the job again, with a smaller batch_size or pool_size if it happens again"
        ) from error
    finally:
        if waiting:
            cache.append(pa.concat_tables(waiting))
    return len(wanted)


def _slices(table: pa.Table, size: int) -> list[pa.Table]:
    return [table.slice(start, size) for start in range(0, len(table), size)]
