"""The script that Streamlit runs for each view of the page."""

from __future__ import annotations

import os

import streamlit as st

from demo_page.options import KEY_VARIABLE, Options
from demo_page.page import show_page
from recommender_client import Client


@st.cache_resource
def _client(api: str, credential: str | None) -> Client:
    """One client for all visitors of the page; it is thread-safe."""
    return Client(api, credential=credential, timeout_s=30.0)


if __name__ == "__main__":
    _options = Options.parse(None, os.environ)
    show_page(_client(_options.api, os.environ.get(KEY_VARIABLE)), _options.api, _options.users)
