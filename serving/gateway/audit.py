"""The audit log: who was refused, whose data were erased or exported, what was promoted; as JSON lines."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path
from typing import Any, Final

import msgspec

MAX_REFUSALS_PER_S: Final = 20
_MAX_CHARS: Final = 300
_log = logging.getLogger(__name__)


class AuditLog:
    """Appends one line an event; many processes may share a file, and whoever rotates files may move it away.

    Args:
        path: the file; None = the log of the service.
        max_refusals_per_s: further refusals within a second are counted in the next line.
    """

    def __init__(self, path: Path | None, max_refusals_per_s: int = MAX_REFUSALS_PER_S) -> None:
        self._path = path
        self._max_refusals = max_refusals_per_s
        self._second = 0
        self._refusals = 0
        self._left_out = 0

    def refusal(self, **fields: str | None) -> None:
        """Notes that a caller was refused, unless there are too many of them."""
        second = int(time.time())
        if second != self._second:
            self._second, self._refusals = second, 0
        self._refusals += 1
        if self._refusals > self._max_refusals:
            self._left_out += 1
            return
        left_out, self._left_out = self._left_out, 0
        self._write("refusal", {**fields, "left_out_before": left_out}, durable=False)

    def event(self, name: str, **fields: str | None) -> None:
        """Notes an erasure, an export or a promotion; it is on the disk when this returns."""
        self._write(name, fields, durable=True)

    def _write(self, name: str, fields: dict[str, Any], *, durable: bool) -> None:
        cut = {key: value[:_MAX_CHARS] if isinstance(value, str) else value for key, value in fields.items()}
        line = msgspec.json.encode({"time": round(time.time(), 3), "event": name, **cut})
        if self._path is None:
            _log.warning("%s", line.decode())
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(file, line + b"\n")
            if durable:
                os.fsync(file)
        finally:
            os.close(file)
