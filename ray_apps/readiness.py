"""Waits until a server is ready: all replicas run, and answers are complete within a request's budget."""

from __future__ import annotations

import json
import logging
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final
from urllib.error import HTTPError

from contracts.errors import NotReadyError
from recommender_api.operations import READY, RECOMMEND
from serving.gateway.watch.monitor import WARM_TIMEOUT_S, WHOLE_IN_A_ROW
from serving.placing.placement import GATEWAY

_NO_ANSWER: Final = "no answer"
_PAUSE_S: Final = 0.1
_log = logging.getLogger(__name__)


def wait_until_ready(url: str, timeout_s: float) -> None:
    """Waits until all replicas run and /v1/ready answers 200; one replica alone may already answer.

    Raises:
        NotReadyError: the time is over, or Serve gave up; with Serve's reasons.
    """
    from ray import serve

    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        applications = serve.status().applications
        for name, application in applications.items():
            if application.status == "DEPLOY_FAILED":
                reasons = [application.message, *(part.message for part in application.deployments.values())]
                raise NotReadyError(f"the application {name!r} did not start: {' '.join(filter(None, reasons))}")
        if all(application.status == "RUNNING" for application in applications.values()):
            with suppress(OSError), urllib.request.urlopen(f"{url}{READY.path}", timeout=5):
                return
        time.sleep(0.2)
    raise NotReadyError(f"{url}{READY.path} did not answer 200 within {timeout_s:.0f} s: {serve.status()}")


def num_gateways(application: str) -> int:
    """How many gateways of an application run."""
    from ray import serve
    from ray.serve._private.common import ReplicaState

    states = serve.status().applications[application].deployments[GATEWAY].replica_states
    return int(states.get(ReplicaState.RUNNING, 0))


def wait_until_warm(url: str, gateways: int) -> bool:
    """Asks until answers are complete several times in a row; logs a warning if they are not after a minute.

    Sends as many requests at a time as there are gateways: HAProxy sends each to the least busy one.

    Args:
        url: of the application.
        gateways: their number.

    Returns:
        Whether answers are complete.
    """
    deadline, row = time.monotonic() + WARM_TIMEOUT_S, 0
    with ThreadPoolExecutor(max(1, gateways)) as clients:
        while True:
            lacking = {part for parts in clients.map(_lacking, [url] * max(1, gateways)) for part in parts}
            row = 0 if lacking else row + 1
            if row == WHOLE_IN_A_ROW:
                return True
            if time.monotonic() > deadline:
                break
            if lacking:
                time.sleep(_PAUSE_S)
    _log.warning(
        "this machine is too slow for its settings: answers lack %s. The server runs all the same; "
        "raise service.budget_ms, or end what else runs on the machine",
        ", ".join(sorted(lacking)) or "something from time to time",
    )
    return False


def _lacking(url: str) -> tuple[str, ...]:
    """Degraded parts of an answer with the usual budget; if access is denied, whether the gateway is ready."""
    call = urllib.request.Request(f"{url}{RECOMMEND.path}", b"{}", {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(call, timeout=WARM_TIMEOUT_S) as answer:
            return tuple(json.load(answer)["degraded"])
    except HTTPError as error:
        if error.code in (401, 403):
            with suppress(OSError), urllib.request.urlopen(f"{url}{READY.path}", timeout=WARM_TIMEOUT_S):
                return ()
    except OSError:
        pass
    return (_NO_ANSWER,)
