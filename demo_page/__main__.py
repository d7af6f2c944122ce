"""`make page`: serves the page with Streamlit until Ctrl-C."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from streamlit.web import cli

from demo_page.options import Options

_APP: Final = Path(__file__).with_name("app.py")
_SETTINGS: Final = (
    "--server.headless=true",
    "--server.fileWatcherType=none",
    "--browser.gatherUsageStats=false",
    "--client.toolbarMode=minimal",
    "--theme.base=light",
    "--theme.primaryColor=#4f46e5",
    "--theme.backgroundColor=#fafaff",
    "--theme.secondaryBackgroundColor=#f0f0fa",
    "--theme.textColor=#1e1b4b",
)


def streamlit_arguments(options: Options) -> list[str]:
    """The arguments of Streamlit's own command line."""
    address = [f"--server.address={options.host}", f"--server.port={options.port}"]
    return ["run", str(_APP), *_SETTINGS, *address, "--", *options.arguments]


if __name__ == "__main__":
    cli.main(streamlit_arguments(Options.parse(None, os.environ)), prog_name="streamlit")
