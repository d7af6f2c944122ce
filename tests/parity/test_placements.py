"""One placement answers as another, and as the pipeline called in plain Python, alone or in a batch of 32."""

from __future__ import annotations

import asyncio

import pytest

from tests.fixtures.served_apps import PLACEMENTS, ServedApps
from tests.parity.answers import Answer, assert_same, called_directly, over_http
from tests.parity.golden import golden_answers
from tests.parity.visitors import all_visitors

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def plain(served: ServedApps) -> list[Answer]:
    """The pipeline called directly, one request at a time."""
    return asyncio.run(called_directly(all_visitors(), served.bundle, served.config, served.address, batch_size=1))


def test_the_recorded_bundle_answers_as_it_did_when_it_was_recorded(plain: list[Answer]) -> None:
    assert_same(plain, golden_answers())


def test_a_batch_of_32_is_32_batches_of_one(served: ServedApps, plain: list[Answer]) -> None:
    assert_same(
        asyncio.run(called_directly(all_visitors(), served.bundle, served.config, served.address, batch_size=32)), plain
    )


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize(("num_threads", "step"), [(1, 6), (16, 1)])
def test_every_placement_answers_as_plain_python(
    served: ServedApps, plain: list[Answer], placement: str, num_threads: int, step: int
) -> None:
    """One client asks for every sixth answer, many ask for all."""
    assert_same(over_http(all_visitors()[::step], f"{served.url}/{placement}", num_threads), plain[::step])
