"""Builds a consumer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from contracts.clock import ShopCalendar
from contracts.records import shop_records
from serving.interactions.config import ConsumerConfig
from serving.interactions.consumer import FeatureConsumer
from serving.interactions.meter import ConsumerMeter
from serving.interactions.records import RecordWriter
from serving.interactions.redis_stream import RedisStreamSink, RedisStreamSource
from serving.interactions.streams import Streams
from serving.stores.config import StoreConfig
from serving.stores.keys import CONSUMERS, Keys
from serving.stores.top_category import TopCategoryStore

_RECORDS: Final = "records"


@contextmanager
def open_consumer(
    config: ConsumerConfig, stores: StoreConfig, address: str, timezone: str, name: str, meter: ConsumerMeter
) -> Iterator[FeatureConsumer]:
    """A consumer of a shop's interactions on Redis Streams; its connections are closed after the block.

    Args:
        config: settings.
        stores: the stores' settings; the shop is the bundle's.
        address: redis:// or rediss:// address of the stores.
        timezone: the shop's, IANA.
        name: of this consumer, unique.
        meter: counts entries and failures.
    """
    keys = Keys(stores.shop)
    claim_after_s = config.claim_after_s
    events = RedisStreamSource(stores, address, keys.interactions, CONSUMERS, name, claim_after_s=claim_after_s)
    served = RedisStreamSource(stores, address, keys.served, _RECORDS, name, claim_after_s=claim_after_s)
    dead_letters = RedisStreamSink(stores, address, keys.dead_letters, config.kept_dead_letters)
    features = TopCategoryStore(stores, address)
    records = RecordWriter(shop_records(stores.records_dir, stores.shop), ShopCalendar(timezone))
    try:
        yield FeatureConsumer(Streams(events, served, dead_letters), features, records, config, meter)
    finally:
        for part in (events, served, dead_letters, features):
            part.close()
