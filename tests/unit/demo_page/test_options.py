"""How the page is started."""

from __future__ import annotations

import pytest

from demo_page.__main__ import streamlit_arguments
from demo_page.options import Options


@pytest.mark.parametrize(
    ("argv", "environment", "api"),
    [
        ([], {}, "http://127.0.0.1:8000"),
        ([], {"RECOMMENDER_API_URL": "http://shop/"}, "http://shop"),
        (["--api", "http://other/path/"], {"RECOMMENDER_API_URL": "http://shop"}, "http://other/path"),
    ],
)
def test_the_address_of_the_api(argv: list[str], environment: dict[str, str], api: str) -> None:
    assert Options.parse(argv, environment).api == api


def test_the_program_that_streamlit_runs_gets_the_same_options() -> None:
    options = Options.parse(["--api", "http://shop", "--user", "u1", "--user", "u 2", "--port", "9000"], {})
    arguments = streamlit_arguments(options)
    own = arguments[arguments.index("--") + 1 :]
    assert Options.parse(own, {}) == options
    assert options.users == ("u1", "u 2")
    assert "--server.port=9000" in arguments
    assert "--browser.gatherUsageStats=false" in arguments
