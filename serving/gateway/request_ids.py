"""Ids of requests: the client's, which may repeat, and the service's own, which is unique."""

from __future__ import annotations

import os
import re
from typing import Final, NamedTuple

from starlette.types import Scope

from serving.gateway.wire import REQUEST_ID, header

_SCOPE_KEY: Final = "recommender.request_id"
_SENT: Final = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
_SUFFIX_BYTES: Final = 8


class RequestId(NamedTuple):
    """The ids of a request.

    Attributes:
        own: for answers, headers, records, logs and events: the client's id, a dot and a random suffix.
        sent: the client's `X-Request-Id`, or `own` without one; the default seed of sampled lists.
    """

    own: str
    sent: str


def request_id_of(scope: Scope) -> RequestId:
    """The ids of a request, the same at every call.

    Ignores a client's id that has illegal characters or is too long.
    """
    noted: RequestId | None = scope.get(_SCOPE_KEY)
    if noted is None:
        noted = scope[_SCOPE_KEY] = _named(header(scope, REQUEST_ID))
    return noted


def _named(given: bytes | None) -> RequestId:
    if given is None or not _SENT.fullmatch(given):
        made = os.urandom(16).hex()
        return RequestId(made, made)
    sent = given.decode()
    return RequestId(f"{sent}.{os.urandom(_SUFFIX_BYTES).hex()}", sent)
