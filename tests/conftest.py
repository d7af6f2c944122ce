"""Fixtures that every test may use."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page, Request

    from contracts.bundle import Bundle

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "120")
os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH", "serving.deployments.middleware:middlewares")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # tests share cores with servers; spinning threads keep them
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A tiny bundle with untrained models."""
    from tests.fixtures.served_bundle import write_served_bundle  # torch

    return write_served_bundle(tmp_path_factory.mktemp("served"))


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    """A Ray cluster of this process, shared by all tests that ask for it."""
    import ray

    ray.init(
        address="local",
        num_cpus=4,
        include_dashboard=False,
        object_store_memory=300_000_000,
        log_to_driver=False,
        configure_logging=False,
    )
    yield
    ray.shutdown()


def need_program(*names: str) -> str:
    """Path of the first system program that exists; without any the test is skipped, or fails with REQUIRE_ALL=1."""
    for name in names:
        if path := shutil.which(name):
            return path
    message = f"none of the system programs {', '.join(names)} is installed"
    if os.environ.get("REQUIRE_ALL") == "1":
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture
def page() -> Iterator[Page]:
    """A page of a headless Chromium; errors of its scripts and requests to other machines fail the test."""
    from playwright.sync_api import sync_playwright

    executable = need_program("chromium", "chromium-browser", "google-chrome")
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, headless=True, args=arguments)
        opened = browser.new_page(viewport={"width": 1200, "height": 900})
        errors: list[str] = []
        outside: list[str] = []

        def note_request(request: Request) -> None:
            address = urlsplit(request.url)
            if address.scheme not in {"file", "data", "blob"} and address.hostname != "127.0.0.1":
                outside.append(request.url)

        opened.on("pageerror", lambda error: errors.append(str(error)))
        opened.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        opened.on("request", note_request)
        yield opened
        browser.close()
    assert errors == []
    assert outside == []
