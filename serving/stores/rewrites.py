"""Removes erased data from the append-only file: the embedded server rewrites it some time after an erasure.

Every erasure is counted (`ERASURES`). The owner of the server stores the count up to which it has rewritten the file
(`REWRITTEN`), so that a restart misses none.
"""

from __future__ import annotations

import logging
import threading
from typing import Final

import redis

from serving.stores.keys import ERASURES, REWRITTEN

logger = logging.getLogger(__name__)

_LOOKS: Final = 4
"""Checks within the promised time. An erasure waits for one to two of them, in which consumers finish with it."""
_POLL_S: Final = 0.1


class ErasureRewriter:
    """Looks for erasures until it is stopped.

    Args:
        client: with the permission to rewrite the file.
        within_s: seconds after an erasure within which the rewrite begins.
        stopping: ends the thread.
    """

    def __init__(self, client: redis.Redis, within_s: float, stopping: threading.Event) -> None:
        self._client = client
        self._look_s = within_s / _LOOKS
        self._stopping = stopping
        self._waited = False

    def run(self) -> None:
        """Body of a thread; asks again if the server does not answer."""
        while not self._stopping.wait(self._look_s):
            try:
                self.look()
            except redis.RedisError as error:
                logger.warning("could not check for erasures, next check in %g s: %s", self._look_s, error)

    def look(self) -> None:
        """Rewrites the file if the last check found an erasure that is still in it.

        Raises:
            RedisError: the server does not answer, or could not rewrite the file.
        """
        count, rewritten = self._client.mget(ERASURES, REWRITTEN)
        if count == rewritten:
            self._waited = False
        elif not self._waited:
            self._waited = True
        elif self._rewrite():
            self._client.set(REWRITTEN, count)
            logger.info("erased data has left the append-only file")
            self._waited = False

    def _rewrite(self) -> bool:
        """Whether the file was rewritten."""
        self._wait_for_others()
        self._client.bgrewriteaof()
        self._wait_for_others()
        if (status := self._client.info("persistence")["aof_last_bgrewrite_status"]) != "ok":
            raise redis.RedisError(f"the append-only file could not be rewritten ({status}); see redis.log")
        return not self._stopping.is_set()

    def _wait_for_others(self) -> None:
        while self._rewrites() and not self._stopping.wait(_POLL_S):
            pass

    def _rewrites(self) -> bool:
        state = self._client.info("persistence")
        return bool(state["aof_rewrite_in_progress"] or state["aof_rewrite_scheduled"])
