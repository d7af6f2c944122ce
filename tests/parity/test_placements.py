"""One placement answers as another, and as the pipeline called in plain Python, alone or in a batch of 32."""

from __future__ import annotations

import asyncio

import pytest

from tests.fixtures.served_apps import PLACEMENTS, ServedApps
from tests.parity.answers import Answer, assert_same, called_directly, over_http

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def plain(served: ServedApps) -> list[Answer]:
    """The pipeline called directly, one request at a time."""
    return asyncio.run(called_directly(served.bundle, served.config, served.address, batch_size=1))


def test_a_batch_of_32_is_32_batches_of_one(served: ServedApps, plain: list[Answer]) -> None:
    assert_same(asyncio.run(called_directly(served.bundle, served.config, served.address, batch_size=32)), plain)


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("num_threads", [1, 16])
def test_every_placement_answers_as_plain_python(
    served: ServedApps, plain: list[Answer], placement: str, num_threads: int
) -> None:
    assert_same(over_http(f"{served.url}/{placement}", num_threads), plain)
