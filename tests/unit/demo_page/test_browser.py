"""The page in a real browser against a real gateway: look, be interested, see the shift, reset."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from playwright.sync_api import Page

from contracts.bundle import Bundle
from ray_apps.ports import free_port
from tests.fixtures.local_server import served_locally
from tests.fixtures.served_bundle import write_served_bundle
from tests.unit.serving.gateway.conftest import Shop

pytestmark = pytest.mark.browser
ROOT = Path(__file__).resolve().parents[3]
PATIENCE_S = 60
FIRST_PORT = 20_000 + os.getpid() % 2_900
CARD = ".card:has(.rank)"


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_served_bundle(tmp_path_factory.mktemp("served"))


@pytest.fixture
def address(bundle: Bundle, tmp_path: Path) -> Iterator[str]:
    """The page, beside a gateway whose seen filter and history follow what is clicked."""
    with served_locally(Shop(bundle, tmp_path, online=True).app) as api:
        port = free_port(FIRST_PORT)
        command = [sys.executable, "-m", "demo_page", "--api", api, "--port", str(port), "--user", "u1"]
        program = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
        try:
            yield wait_for(f"http://127.0.0.1:{port}", program)
        finally:
            program.terminate()
            program.wait(PATIENCE_S)


def wait_for(address: str, program: subprocess.Popen[bytes]) -> str:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline and program.poll() is None:
        with suppress(OSError), urllib.request.urlopen(f"{address}/_stcore/health", timeout=5):
            return address
        time.sleep(0.1)
    raise AssertionError(f"the page did not start; status {program.poll()}")


def shown(page: Page) -> list[str | None]:
    return [card.get_attribute("data-item") for card in page.locator(CARD).all()]


def drawn(page: Page) -> None:
    """The page has drawn all that the last look brought; what an earlier look left behind is gone."""
    page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
    page.locator("[data-stale=true]").first.wait_for(state="detached")


def settled(page: Page) -> None:
    """It has, and the recommendations are there to be seen."""
    drawn(page)
    page.locator(CARD).nth(9).wait_for()


def be_interested_in_the_first(page: Page) -> str:
    """Presses the first card's button; the id of its item, which then is gone."""
    settled(page)
    first = shown(page)[0]
    assert first is not None
    page.get_by_role("button", name="Interested").first.click()
    page.locator("[data-testid=stAlert]", has_text="recorded and in this answer").wait_for()
    page.locator(f"{CARD}[data-item={first}]").wait_for(state="detached")
    settled(page)
    return first


def test_interest_shifts_recommendations_and_reset_brings_them_back(address: str, page: Page) -> None:
    page.set_default_timeout(PATIENCE_S * 1_000)
    page.goto(address)
    page.locator(CARD).nth(9).wait_for()
    page.get_by_text("New user").click()
    page.get_by_role("heading", name="Recommended for new-").wait_for()
    settled(page)
    first = shown(page)
    gone = be_interested_in_the_first(page)
    assert len(shown(page)) == 10
    assert shown(page) != first
    page.get_by_role("tab", name="What moved").click()
    row = page.locator(f".moves tr[data-item={gone}]")
    row.wait_for()
    assert "seen now: the filter hides it" in row.inner_text()
    page.get_by_role("tab", name="Figures").click()
    page.locator("[data-testid=stVegaLiteChart]").nth(2).wait_for()
    page.get_by_role("tab", name="Recommendations").click()
    page.get_by_role("button", name="Reset").click()
    page.locator(f"{CARD}[data-item={gone}]").wait_for()
    settled(page)
    assert shown(page) == first


def test_interest_from_the_filtered_catalogue(address: str, page: Page) -> None:
    page.set_default_timeout(PATIENCE_S * 1_000)
    page.goto(address)
    settled(page)
    page.get_by_role("tab", name="Catalogue").click()
    page.get_by_label("Title").fill("title 1")
    page.get_by_label("Title").press("Enter")
    page.get_by_text("13 items, page 1 of 1").wait_for()
    page.get_by_label("From").fill("11")
    page.get_by_label("From").press("Enter")
    page.get_by_text("11 items, page 1 of 1").wait_for()
    found = page.locator(".card:not(:has(.rank))")
    drawn(page)
    priced = {f"i{number}" for number in (*range(11, 20), 21, 31)}
    assert {card.get_attribute("data-item") for card in found.all()} == priced
    page.locator(".st-key-item-i12").get_by_role("button", name="Interested").click()
    page.locator("[data-testid=stAlert]", has_text="Interested in “Title 12” — recorded and in this").wait_for()
    drawn(page)
    assert "i12" not in shown(page)
    assert len(found.all()) == 11  # the filter stays


def test_a_known_users_seen_items_are_flushed(address: str, page: Page) -> None:
    page.set_default_timeout(PATIENCE_S * 1_000)
    page.goto(address)
    page.locator(CARD).nth(9).wait_for()
    be_interested_in_the_first(page)
    page.get_by_role("button", name="Reset").click()
    page.locator("[data-testid=stAlert]", has_text="Seen items of u1 are forgotten").wait_for()
