"""Peers without Ray: our pipeline behind uvicorn, as plain FastAPI or as raw ASGI with micro-batching.

Raw ASGI is our gateway's own application, so the difference is the cost of Ray Serve. FastAPI is the plain way: a model
that checks the request, the pipeline for one visitor, a model that writes the answer.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any, Final

import torch
import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from benchmarks.items import FeastItems
from benchmarks.peers.fastapi_models import Answer, Item, Question
from contracts.bundle import Bundle, open_bundle
from ray_apps.recommender import find_bundle
from recommender_api.operations import RECOMMEND
from recommender_api.requests import RecommendationRequest
from serving.config import ServingConfig
from serving.gateway.build import Surroundings, build_gateway, build_pipeline
from serving.gateway.catalogue.catalogue import Catalogue
from serving.gateway.recommend.service import RecommendationService
from serving.gateway.request_ids import RequestId
from serving.placing.stage_table import STAGES, open_stage, warm_up
from serving.running.calls import StageCall
from serving.running.load import ComputeThread
from serving.stores.connection import StoreConnection

SETTINGS: Final = "RECOMMENDER_PEER"
"""Environment variable of the worker processes: kind and settings as JSON."""
Builder = Callable[[dict[str, StageCall], Bundle, ServingConfig, StoreConnection], ASGIApp]


def main(argv: Sequence[str] | None = None) -> None:
    """The command line; `--settings` holds serving settings as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers.http", description=__doc__)
    parser.add_argument("--kind", choices=("fastapi", "asgi"), required=True)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--items", choices=("memory", "feast"), default="memory", help="where item features are")
    parser.add_argument("--settings", required=True)
    arguments = parser.parse_args(argv)
    settings = {"kind": arguments.kind, "items": arguments.items, "config": json.loads(arguments.settings)}
    os.environ[SETTINGS] = json.dumps(settings)
    uvicorn.run(
        "benchmarks.peers.http:application",
        factory=True,
        workers=arguments.workers,
        port=arguments.port,
        loop="uvloop",
        lifespan="on",
        timeout_worker_healthcheck=300,  # importing and loading block a worker for seconds
        http="httptools",
        access_log=False,
        log_level="warning",
    )


def application() -> ASGIApp:
    """The application of one worker process."""
    settings = json.loads(os.environ[SETTINGS])
    config = ServingConfig.model_validate(settings["config"])
    build = fastapi_application if settings["kind"] == "fastapi" else asgi_application
    return WhenOpened(build, config, items_in_feast=settings["items"] == "feast")


class WhenOpened:
    """Opens everything in uvicorn's start-up, on its event loop; requests are answered once that is done.

    Args:
        build: makes the application.
        config: settings of serving; `stores.address` is set.
        items_in_feast: whether the candidates' features are read from Feast before ranking.
    """

    def __init__(self, build: Builder, config: ServingConfig, *, items_in_feast: bool) -> None:
        self._build = build
        self._config = config
        self._items_in_feast = items_in_feast
        self._app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._start(receive, send)
        else:
            assert self._app is not None
            await self._app(scope, receive, send)

    async def _start(self, receive: Receive, send: Send) -> None:
        await receive()
        config = self._config
        bundle = open_bundle(find_bundle(config), verify=False)
        assert config.stores.address is not None
        stores = StoreConnection.open(config.stores, config.stores.address)
        thread = ComputeThread()
        torch.set_num_threads(1)
        stages = {name: open_stage(name, bundle, config, thread, stores) for name in STAGES}
        if self._items_in_feast:
            stages["ranking"] = RankingFromFeast(stages["ranking"], FeastItems(config, bundle), thread)
        await warm_up(stages, bundle, config)
        self._app = self._build(stages, bundle, config, stores)
        await send({"type": "lifespan.startup.complete"})
        print("READY", flush=True)
        await receive()
        await send({"type": "lifespan.shutdown.complete"})


class RankingFromFeast:
    """Ranking that first reads its candidates' features from Feast, like the reference without its cache.

    Args:
        ranking: the stage that ranks.
        items: item features.
        thread: waits for Feast.
    """

    def __init__(self, ranking: StageCall, items: FeastItems, thread: Executor) -> None:
        self._ranking = ranking
        self._items = items
        self._thread = thread

    async def __call__(self, *messages: Any, timeout_s: float) -> Any:
        """The ranking's answer; the candidates are the second message."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._items.read, messages[1].rows)
        return await self._ranking(*messages, timeout_s=timeout_s)


def asgi_application(
    stages: dict[str, StageCall], bundle: Bundle, config: ServingConfig, stores: StoreConnection
) -> ASGIApp:
    """Our gateway without Ray Serve: validation, batches of up to 32, all stages in this process."""
    return build_gateway(stages, bundle, config, "asgi", Surroundings.of(bundle, config, stores)).app


def fastapi_application(
    stages: dict[str, StageCall], bundle: Bundle, config: ServingConfig, stores: StoreConnection
) -> ASGIApp:
    """The pipeline in a path operation, one request at a time."""
    catalogue = Catalogue(bundle, config.raw_dir)
    pipeline = build_pipeline(stages, bundle, config, Surroundings.of(bundle, config, stores).seen)
    service = RecommendationService(bundle, pipeline, catalogue, config.clock(), config.service)
    app = FastAPI()

    @app.post(RECOMMEND.path)
    async def recommend(question: Question) -> Answer:
        request = RecommendationRequest(**question.model_dump())
        result = await service.run(
            [service.check(request, RequestId("request", "request"))], [config.service.budget_ms]
        )
        ranked = zip(result.ranked.rows.tolist(), result.ranked.scores.tolist(), strict=True)
        items = [catalogue.recommendation(rank, row, score) for rank, (row, score) in enumerate(ranked, start=1)]
        return Answer(
            user_id=question.user_id,
            bundle_version=bundle.version,
            degraded=list(result.degraded[0]),
            recommendations=[Item(**{name: getattr(item, name) for name in item.__struct_fields__}) for item in items],
        )

    return app


if __name__ == "__main__":
    main()
