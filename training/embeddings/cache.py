"""Cache of raw vectors by content; one folder per encoder, shared by runs."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from contracts.files import private_folder
from contracts.ids import BoolArray, FloatArray
from training.embeddings.encoders import ERROR, HASH, VECTOR, VECTORS


class VectorCache:
    """Parquet shards of content hashes and vectors. Appending is atomic; a shard never changes.

    Args:
        folder: of one encoder identity.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        private_folder(folder)

    def missing(self, hashes: list[str]) -> BoolArray:
        """Which contents [n] have neither a vector nor a recorded error."""
        known = self._read([HASH])[HASH]
        absent: BoolArray = pc.invert(pc.is_in(pa.array(hashes, pa.string()), value_set=known)).to_numpy(
            zero_copy_only=False
        )
        return absent

    def append(self, table: pa.Table) -> None:
        """Adds a table of the schema `VECTORS`."""
        digest = hashlib.sha256("".join(table[HASH].to_pylist()).encode()).hexdigest()[:16]
        temporary = self._folder / f".{digest}.{os.getpid()}.tmp"
        pq.write_table(table, temporary)
        temporary.replace(self._folder / f"vectors-{digest}.parquet")

    def vectors(self, hashes: list[str | None]) -> tuple[FloatArray, list[str | None]]:
        """Vectors [n, D] of contents, zeros where there is none, and the recorded errors [n]; D = 0 for no vector."""
        table = self._read(VECTORS.names).combine_chunks()
        row = pc.index_in(pa.array(hashes, pa.string()), value_set=table[HASH])
        found = table.take(row)
        values = found[VECTOR].combine_chunks()
        present = values.is_valid().to_numpy(zero_copy_only=False)
        flat = values.drop_null().flatten().to_numpy()
        vectors = np.zeros((len(hashes), len(flat) // max(1, int(present.sum()))), dtype=np.float32)
        vectors[present] = flat.reshape(int(present.sum()), vectors.shape[1])
        return vectors, found[ERROR].to_pylist()

    def _read(self, columns: list[str]) -> pa.Table:
        shards = sorted(self._folder.glob("vectors-*.parquet"))
        parts = [pq.read_table(shard, columns=columns) for shard in shards]
        return pa.concat_tables(parts) if parts else VECTORS.empty_table().select(columns)
