"""Every request in the guide is one that the API takes."""

from __future__ import annotations

import msgspec
import pytest

from contracts.presets import SHOP
from recommender_api.requests import Diversity
from serving.gateway.decoding import RequestDecoder
from serving.gateway.shop.types import shop_types
from tests.fixtures.guides import blocks, read_guide

GUIDE = read_guide("requests.md")
REQUESTS = blocks(GUIDE, "json")


@pytest.mark.parametrize("text", REQUESTS)
def test_requests_of_the_guide_are_taken(text: str) -> None:
    decode = RequestDecoder(shop_types(SHOP))
    (decode.ranking if "candidate_ids" in msgspec.json.decode(text) else decode.recommendation)(text.encode())


def test_the_guide_tells_of_every_way_to_order() -> None:
    for field in Diversity.__struct_fields__:
        assert f"`{field}`" in GUIDE
    assert len(REQUESTS) == 4
