"""The audit log: refusals, erasures, exports and promotions as JSON lines."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from contracts.append_only import append_whole
from contracts.errors import AuditError
from serving.watching.rate_limited import RateLimitedLogger

AUDIT_FILE: Final = "audit.jsonl"
"""Name of the file, for the server and the jobs."""
MAX_REFUSALS_PER_S: Final = 20
_MAX_CHARS: Final = 300


class AuditLog:
    """Appends one line an event; processes may share the file, and log rotation may move it away.

    Args:
        path: the file.
        max_refusals_per_s: further refusals within a second are only counted in the next line.
    """

    def __init__(self, path: Path, max_refusals_per_s: int = MAX_REFUSALS_PER_S) -> None:
        self._path = path
        self._max_refusals = max_refusals_per_s
        self._second = 0
        self._refusals = 0
        self._left_out = 0
        self._warn = RateLimitedLogger(logging.getLogger(__name__))

    async def refusal(self, **fields: str | None) -> None:
        """Logs a refusal, unless there are too many; does not fail if the log cannot be written."""
        second = int(time.time())
        if second != self._second:
            self._second, self._refusals = second, 0
        self._refusals += 1
        if self._refusals > self._max_refusals:
            self._left_out += 1
            return
        left_out, self._left_out = self._left_out, 0
        try:
            noted = {**fields, "left_out_before": left_out}
            await asyncio.to_thread(self._write, "refusal", noted, durable=False)
        except OSError as error:
            self._left_out += left_out + 1
            self._warn.warning("lines of the audit log", error)

    def event(self, name: str, **fields: str | None) -> None:
        """Logs an erasure, an export or a promotion durably.

        Raises:
            AuditError: the line cannot be written; the logged action must not happen.
        """
        try:
            self._write(name, fields, durable=True)
        except OSError as error:
            raise AuditError(
                f"the audit log {self._path} cannot be written: {error}; "
                "free disk space, or correct its path and permissions"
            ) from error

    def _write(self, name: str, fields: Mapping[str, str | int | None], *, durable: bool) -> None:
        cut = {key: value[:_MAX_CHARS] if isinstance(value, str) else value for key, value in fields.items()}
        line = msgspec.json.encode({"time": round(time.time(), 3), "event": name, **cut})
        append_whole(self._path, line + b"\n", durable=durable)
