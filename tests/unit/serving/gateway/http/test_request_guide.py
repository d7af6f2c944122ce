"""Every request in the guide is one that the API takes."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from recommender_api.requests import Diversity
from serving.gateway.http.decoding import decode_ranking, decode_request

GUIDE = (Path(__file__).parents[5] / "docs/guides/requests.md").read_text(encoding="utf-8")
REQUESTS = re.findall(r"```json\n(.*?)\n```", GUIDE, flags=re.DOTALL)


@pytest.mark.parametrize("text", REQUESTS)
def test_requests_of_the_guide_are_taken(text: str) -> None:
    (decode_ranking if "candidate_ids" in msgspec.json.decode(text) else decode_request)(text.encode())


def test_the_guide_tells_of_every_way_to_order() -> None:
    for field in Diversity.__struct_fields__:
        assert f"`{field}`" in GUIDE
    assert len(REQUESTS) == 4
