"""The marker of the last `materialize`, for status pages and people."""

from __future__ import annotations

from pydantic import ValidationError

from contracts.config import StrictConfig
from contracts.errors import StoreError
from serving.stores.broken import read_strings
from serving.stores.connection import StoreConnection
from serving.stores.keys import Keys


class BrokenMarkerError(StoreError):
    """The store's marker is of another kind or damaged."""


class StoreMeta(StrictConfig):
    """The marker of a filled store; absent while it is filled and after a failed run."""

    shop: str
    """Name of the shop."""
    bundle_version: str
    """The production bundle at that time."""
    written_at: int
    """The clock's now of the run, Unix seconds."""
    num_users: int
    """Users with features."""
    num_recent: int
    """Subjects with recent items."""
    num_seen: int
    """Subjects with a seen ring."""


async def read_meta(stores: StoreConnection) -> StoreMeta | None:
    """The marker; None if nothing was materialized.

    Raises:
        BrokenMarkerError: the marker cannot be read.
        StoreError: the store does not answer in time.
    """
    async with stores.errors():
        [text] = await read_strings(stores.client, [Keys(stores.config.shop).meta])
    try:
        return None if text is None else StoreMeta.model_validate_json(text)
    except ValidationError as error:
        raise BrokenMarkerError(f"the store's marker cannot be read: {error}; run the materialize job") from error
