"""The page at /docs in a real browser, without any other host."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from contracts.presets import SHOP
from serving.gateway.http.openapi import openapi_document
from serving.gateway.shop.types import shop_types
from tests.fixtures.local_server import served_locally
from tests.unit.serving.gateway.conftest import Shop

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser


@pytest.fixture
def address(shop: Shop) -> Iterator[str]:
    with served_locally(shop.app) as address:
        yield address


def test_every_operation_is_listed(address: str, page: Page) -> None:
    page.goto(f"{address}/docs")
    page.wait_for_selector(".opblock")
    shown = {
        (block.locator(".opblock-summary-method").inner_text(), block.locator(".opblock-summary-path").inner_text())
        for block in page.locator(".opblock").all()
    }
    paths = openapi_document(shop_types(SHOP))["paths"]
    without_breaks = {(method, path.replace("\u200b", "")) for method, path in shown}
    assert without_breaks == {(method.upper(), path) for path, methods in paths.items() for method in methods}


def test_a_recommendation_can_be_tried_out(address: str, page: Page) -> None:
    page.goto(f"{address}/docs")
    block = page.locator(".opblock-post", has_text="/v1/recommendations").first
    block.locator(".opblock-summary").click()
    block.get_by_role("button", name="Try it out").click()
    block.locator("textarea").fill('{"user_id": "u1", "k": 3}')
    block.get_by_role("button", name="Execute").click()
    answer = block.locator(".live-responses-table .response").first
    answer.wait_for()
    assert answer.locator(".response-col_status").inner_text().split()[0] == "200"
    body = answer.locator(".highlight-code").inner_text()
    assert '"bundle_version": "tiny-1"' in body
    assert body.count('"rank"') == 3
