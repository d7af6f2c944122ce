"""Settings of both HTTP clients, and answers from the outcomes of attempts."""

from __future__ import annotations

from typing import TypedDict, TypeVar

import httpx

from recommender_client.calls import Call
from recommender_client.errors import NoConnectionError
from recommender_client.retry import Outcome

_AnswerT = TypeVar("_AnswerT")


class Settings(TypedDict):
    """Arguments of both HTTP clients."""

    base_url: str
    headers: dict[str, str]
    timeout: float


def settings(base_url: str, credential: str | None, timeout_s: float) -> Settings:
    """Settings of an HTTP client for an address, with a credential if given."""
    headers = {} if credential is None else {"authorization": f"Bearer {credential}"}
    return {"base_url": base_url, "headers": headers, "timeout": timeout_s}


def result(call: Call[_AnswerT], outcome: Outcome, base_url: httpx.URL) -> _AnswerT:
    """The answer of a call.

    Raises:
        ApiError: there is no answer, it is an error, or it cannot be read.
    """
    if isinstance(outcome, httpx.TransportError):
        code = "timeout" if isinstance(outcome, httpx.TimeoutException) else "no_connection"
        raise NoConnectionError(f"no answer from {base_url}: {outcome!r}", code=code) from outcome
    return call.answer(outcome)
