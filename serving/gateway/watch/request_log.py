"""The request log: one JSON line a request, without bodies, written by a thread twice a second."""

from __future__ import annotations

import hashlib
import sys
import time
from typing import NamedTuple

import msgspec

from contracts.append_only import append_whole
from serving.gateway.recommend.service import Answer
from serving.gateway.watch.config import RequestLogConfig


class Line(NamedTuple):
    """A request to be logged."""

    time: float
    request_id: str
    method: str
    route: str
    status: int
    ms: float
    answer: Answer | None
    left_out: int


class RequestLog:
    """Selects requests for the log and writes their lines.

    Args:
        config: amount and content of lines.
    """

    def __init__(self, config: RequestLogConfig) -> None:
        self._config = config
        self._subject_key = config.subject_key()
        self._lines: list[Line] = []
        self._owed = 0.0
        self._second = 0
        self._count = 0
        self._left_out = 0

    def add(
        self, request_id: str, method: str, route: str, status: int, milliseconds: float, answer: Answer | None
    ) -> None:
        """Takes a request, unless sampling or the limit leaves it out."""
        if status < 400 and (answer is None or not answer.degraded):
            self._owed += self._config.share
            if self._owed < 1:
                return
            self._owed -= 1
        now = time.time()
        if int(now) != self._second:
            self._second, self._count = int(now), 0
        if self._count >= self._config.max_lines_per_s:
            self._left_out += 1
            return
        self._count += 1
        self._lines.append(Line(now, request_id, method, route, status, milliseconds, answer, self._left_out))
        self._left_out = 0

    def take(self) -> list[Line]:
        """The lines since the last call."""
        lines, self._lines = self._lines, []
        return lines

    def write(self, lines: list[Line]) -> None:
        """Writes lines; runs in a thread.

        Raises:
            OSError: they cannot be written; the next line counts them as left out.
        """
        if not lines:
            return
        try:
            self._append(lines)
        except OSError:
            self._left_out += len(lines) + sum(line.left_out for line in lines)
            raise

    def _append(self, lines: list[Line]) -> None:
        content = b"".join(msgspec.json.encode(self._fields(line)) + b"\n" for line in lines)
        path = self._config.file
        if path is None:
            sys.stderr.write(content.decode())
            sys.stderr.flush()
            return
        if path.is_file() and path.stat().st_size > self._config.max_file_mb * 2**20:
            path.replace(path.with_name(path.name + ".1"))
        append_whole(path, content)

    def _fields(self, line: Line) -> dict[str, object]:
        fields: dict[str, object] = {
            "time": round(line.time, 3),
            "request_id": line.request_id,
            "method": line.method,
            "route": line.route,
            "status": line.status,
            "ms": round(line.ms, 3),
        }
        if line.answer is not None:
            batch = line.answer.batch
            fields |= {
                "bundle_version": batch.bundle_version,
                "degraded": line.answer.degraded,
                "waited_ms": round(line.answer.waited_ms, 3),
                "batch_size": batch.size,
                "stage_ms": {stage: round(value, 3) for stage, value in batch.stage_ms.items()},
                "removed": batch.removed,
            }
            if self._subject_key is not None and line.answer.subject is not None:
                fields["subject"] = hashlib.blake2b(
                    line.answer.subject.encode(), key=self._subject_key, digest_size=8
                ).hexdigest()
        if line.left_out:
            fields["left_out_before"] = line.left_out
        return fields
