"""Fills the online stores from the tables: user features, recent items, seen filters; also after a loss.

Afterwards it records the online features of users, so that training reads what serving saw.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from pathlib import Path

from contracts.clock import ShopCalendar
from contracts.columns import CATEGORY_L1, ITEM_ID
from contracts.features import feature_views, user_profile
from contracts.records import shop_records
from ray_apps.jobs import build_index, preprocess
from ray_apps.jobs.cli import main
from ray_apps.jobs.workspace import Job, Workspace
from serving.stores.client import async_client
from serving.stores.config import StoreConfig
from serving.stores.connection import StoreConnection
from serving.stores.merge import TablesEnd
from serving.stores.meta import BrokenMarkerError, StoreMeta, read_meta
from serving.stores.owner import resolve_address
from training.features.online import final_activity, final_profiles, recent_interactions, seen_interactions, some_users
from training.features.processed import open_processed
from training.records import accepted_events, erasures


def run(workspace: Workspace, _: Path) -> str:
    """Fills the stores unless they are complete and readable for this bundle."""
    from serving.interactions.records import RecordWriter  # these bring Feast, which takes seconds to import
    from serving.stores.accepted import AcceptedSource
    from serving.stores.materialize import StoreTables, materialize
    from serving.stores.snapshot import online_activity

    config = workspace.config.stores
    records = shop_records(config.records_dir, workspace.config.shop)
    version = workspace.output(build_index.JOB).name
    address = resolve_address(config)
    meta = asyncio.run(_marker(config, address))
    reused = " (reused)"
    if meta is None or (problem := _problem(workspace, address, meta, version)) is not None:
        reused = "" if meta is None or not problem else f" ({problem})"
        processed = open_processed(workspace.output(preprocess.JOB))
        last_day, calendar = processed.info.last_day, ShopCalendar(processed.info.timezone)
        kept_days = max(config.history_days, config.seen_window_days)
        accepted = AcceptedSource(
            accepted_events(records, last_day + 1 - kept_days),
            processed.items.select([ITEM_ID, CATEGORY_L1]),
            workspace.config.preprocess.seen_events,
            calendar,
        )
        tables = StoreTables(
            final_profiles(processed),
            final_activity(processed),
            recent_interactions(processed, config.history_length),
            seen_interactions(processed, config.seen_window_days),
            TablesEnd(last_day, calendar.start_of_day(last_day + 1)),
            erasures(records),
            accepted,
            user_profile(processed.schema),
        )
        meta = materialize(config, address, tables, bundle_version=version, written_at=workspace.clock.now())
        RecordWriter(records, calendar).snapshot(online_activity(config, address))
    return (
        f"{meta.num_users:,} users with features, {meta.num_recent:,} with recent items, {meta.num_seen:,} seen filters"
        + reused
    )


def _problem(workspace: Workspace, address: str, meta: StoreMeta, version: str) -> str | None:
    """Reason to fill a marked store again: None = not needed, '' = needed, nothing to report."""
    from serving.stores.check import Sample, what_is_missing

    if workspace.force or meta.bundle_version != version:
        return ""
    config, processed = workspace.config.stores, open_processed(workspace.output(preprocess.JOB))
    sample = Sample(feature_views(processed.schema), *some_users(processed, config.seen_window_days))
    missing = what_is_missing(config, address, meta, workspace.clock.now(), sample)
    return None if missing is None else f"filled anew: {missing}"


async def _marker(config: StoreConfig, address: str) -> StoreMeta | None:
    """The store's marker; None if there is none or it is broken."""
    async with async_client(config, address) as client:
        with suppress(BrokenMarkerError):
            return await read_meta(StoreConnection(config, address, client))
    return None


JOB = Job(
    name="materialize",
    purpose="Fills the online stores from the tables: user features, recent items and seen filters.",
    sections=("stores",),
    inputs=(preprocess.JOB, build_index.JOB),
    run=run,
    uses_ray=True,
)

if __name__ == "__main__":
    sys.exit(main(JOB))
