"""Keeps `top_category` in the online store up to date.

A value is computed from the user's 24-hour list, which the API updates when it accepts an event, and is written only
if that list has not changed since. So users can be refreshed any number of times, in any order, by any number of
consumers: an older value never replaces a newer one, and an erased user does not come back. Every change of the list
has an entry in the stream, whose consumer refreshes the user again.

Each written value is appended to the stream `served` in the same step; the id of its entry has the time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import MsgspecError, Struct, json
from redis.typing import EncodableT

from contracts.columns import TOP_CATEGORY
from contracts.errors import DataError, StoreError
from contracts.features import USER_ACTIVITY
from contracts.ids import user_subject
from serving.stores import feast_rows
from serving.stores.client import bulk_client, bulk_errors
from serving.stores.config import StoreConfig
from serving.stores.keys import Keys
from serving.stores.recent import decode, top_category_of

SERVED_FIELD: Final = "served"
_CHUNK: Final = 200
_ATTEMPTS: Final = 3

# KEYS: the stream, then the 24-hour list and Feast's key of each user.
# ARGV: number of hash arguments of a user; then for each user: the expected list, the stream entry, and hash fields
# alternating with values.
_WRITE: Final = f"""
local size = tonumber(ARGV[1])
local written = {{}}
for user = 1, (#KEYS - 1) / 2 do
  local first = 2 + (user - 1) * (size + 2)
  local fresh = redis.pcall('GET', KEYS[2 * user]) == ARGV[first]
  if fresh then
    local kind = redis.call('TYPE', KEYS[2 * user + 1]).ok
    if kind ~= 'hash' and kind ~= 'none' then redis.call('UNLINK', KEYS[2 * user + 1]) end
    redis.call('HSET', KEYS[2 * user + 1], unpack(ARGV, first + 2, first + 1 + size))
    redis.call('XADD', KEYS[1], '*', '{SERVED_FIELD}', ARGV[first + 1])
  end
  written[user] = fresh and 1 or 0
end
return written
"""


class ServedValue(Struct, frozen=True, kw_only=True):
    """A value as it was written to the online store.

    Attributes:
        user_id: raw id.
        top_category: raw string; None = no event of the window has a category.
        event_timestamp: Unix seconds of the last event.
    """

    user_id: str
    top_category: str | None
    event_timestamp: int


_encoder = json.Encoder()
_decoder = json.Decoder(ServedValue)


def decode_served(content: bytes) -> ServedValue:
    """The value of a `SERVED_FIELD`.

    Raises:
        DataError: not JSON, or a field is missing or of a wrong type.
    """
    try:
        return _decoder.decode(content)
    except (MsgspecError, UnicodeDecodeError) as error:
        raise DataError(f"a stream entry is no served value: {error}") from error


class TopCategoryStore:
    """Computes and writes the values of many users at once.

    Args:
        config: the store's settings.
        address: redis:// or rediss:// address.
    """

    def __init__(self, config: StoreConfig, address: str) -> None:
        self._address = address
        self._keys = Keys(config.shop)
        self._client = bulk_client(config, address)
        self._write = self._client.register_script(_WRITE)

    def refresh(self, user_ids: Sequence[str]) -> dict[str, str]:
        """Refreshes users; skips those whose list is gone or keeps changing, which later entries refresh.

        Returns:
            Reasons by user for lists that cannot be read.

        Raises:
            StoreError: the store does not answer or refuses a write.
        """
        left = list(dict.fromkeys(user_ids))
        failed: dict[str, str] = {}
        for _ in range(_ATTEMPTS):
            again = []
            for start in range(0, len(left), _CHUNK):
                changed, unreadable = self._refresh(left[start : start + _CHUNK])
                again += changed
                failed |= unreadable
            if not again:
                break
            left = again
        return failed

    def close(self) -> None:
        """Closes the connection."""
        self._client.close()

    def _refresh(self, user_ids: Sequence[str]) -> tuple[list[str], dict[str, str]]:
        """Users whose list changed meanwhile, and reasons by user for lists that cannot be read."""
        with bulk_errors(self._address):
            lists = self._client.mget([self._keys.day(user_subject(user)) for user in user_ids])
        found: dict[str, tuple[bytes, ServedValue]] = {}
        failed: dict[str, str] = {}
        for user, content in zip(user_ids, lists, strict=True):
            try:
                day = decode(content)
            except StoreError as error:
                failed[user] = error.message
                continue
            if day.timestamps:
                value = ServedValue(user_id=user, top_category=top_category_of(day), event_timestamp=day.timestamps[0])
                found[user] = content, value
        written = self._write_all(found)
        return [user for user, done in zip(found, written, strict=True) if not done], failed

    def _write_all(self, found: Mapping[str, tuple[bytes, ServedValue]]) -> list[int]:
        if not found:
            return []
        keys: list[str | bytes] = [self._keys.served]
        arguments: list[EncodableT] = [0]
        for user, (content, value) in found.items():
            pairs = feast_rows.string_fields(USER_ACTIVITY, {TOP_CATEGORY: value.top_category}, value.event_timestamp)
            keys += [self._keys.day(user_subject(user)), self._keys.features(user)]
            arguments += [content, _encoder.encode(value), *pairs]
            arguments[0] = len(pairs)
        with bulk_errors(self._address):
            return list(self._write(keys=keys, args=arguments))
