"""One JSON line a request, without bodies; written twice a second by a thread, and never more than so many."""

from __future__ import annotations

import hashlib
import sys
import time
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import msgspec
from pydantic import Field, model_validator

from contracts.append_only import append_whole
from contracts.config import StrictConfig
from contracts.errors import ConfigError
from contracts.secrets import read_secret, refuse_secret
from serving.gateway.recommend.service import Answer

SUBJECT_KEY_VARIABLE: Final = "RECOMMENDER_SUBJECT_KEY"
"""Environment variable with the key of the hash of subjects."""
_KEY_BYTES: Final = 16, 64


class RequestLogConfig(StrictConfig):
    """What is written about requests, and how much of it."""

    share: float = Field(default=1.0, ge=0, le=1)
    """Share of the plain successes that get a line; refused, failed and degraded ones always do."""
    max_lines_per_s: int = Field(default=50, ge=0)
    """Further requests within a second are only counted in the next line; 0 writes nothing at all."""
    subject: Literal["none", "hashed"] = "none"
    """Whether lines tell who asked: not at all, or as a keyed hash that only owners of the key can look up."""
    subject_key_file: Path | None = None
    """File with the key of that hash, 16 … 64 bytes; unset = that in `RECOMMENDER_SUBJECT_KEY`."""
    file: Path | None = None
    """Where lines go; unset = standard error, which Ray keeps in its log folder."""
    max_file_mb: int = Field(default=100, ge=1)
    """A larger file is moved to `<file>.1`, over the one before."""

    @model_validator(mode="after")
    def _hash_has_a_key(self) -> RequestLogConfig:
        if self.subject == "none" and self.subject_key_file is not None:
            raise ValueError("subject='none' with a subject_key_file; the key goes with subject='hashed'")
        return self

    @model_validator(mode="before")
    @classmethod
    def _no_secret(cls, values: Any) -> Any:
        refuse_secret(values, "subject_key", SUBJECT_KEY_VARIABLE)
        return values

    def subject_key(self) -> bytes | None:
        """The key of the hash of subjects; None = they are not told.

        Raises:
            ConfigError: there is none, it cannot be read, or its length is not legal.
        """
        if self.subject == "none":
            return None
        key = (read_secret(self.subject_key_file, SUBJECT_KEY_VARIABLE) or "").encode()
        if not _KEY_BYTES[0] <= len(key) <= _KEY_BYTES[1]:
            raise ConfigError(
                f"request_log.subject='hashed' with a key of {len(key)} bytes, expected {_KEY_BYTES[0]} … "
                f"{_KEY_BYTES[1]}; write it into a file and set subject_key_file, or set {SUBJECT_KEY_VARIABLE} in the "
                "environment of the process that starts Ray"
            )
        return key


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
    """Chooses which requests get a line, and writes them.

    Args:
        config: how many lines, and what they tell.
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
        """Takes a request, unless it is left out."""
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
            OSError: they cannot be written; the next line counts them.
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

    def _fields(self, line: Line) -> dict[str, Any]:
        fields: dict[str, Any] = {
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
