"""Completes the HAProxy configuration that Ray Serve writes, then replaces itself by HAProxy.

Ray starts the program that `RAY_SERVE_HAPROXY_BINARY_PATH` names, at first and at every reload. The launcher that
`ray_apps.haproxy.folder` writes runs this module. It uses the standard library only, because every replica that starts
or stops causes a reload.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, TypedDict

MARK: Final = "# completed by ray_apps.haproxy.rules\n"
_FALLBACK: Final = re.compile(
    r"^    (# Fallback to head node's Serve proxy.*|server \S+ \S+( proto h2)? check backup)\n", re.M
)
_NOBODY: Final = re.compile(r"(?<=^backend default_backend\n)    http-request return status 404 .*\n", re.M)
"""Answers 404 to every path, which clients would read as "no such user"; without it the backend answers 503."""


class UnknownTemplateError(Exception):
    """The rules do not fit the configuration that Ray writes."""


class Settings(TypedDict):
    """The fields of `HAProxyConfig` that the rules read, and the file of the answer while no gateway runs."""

    head_timeout_s: int
    idle_timeout_s: int
    connections_per_address: int
    proxies: list[str]
    stats_host: str
    unavailable_file: str


def complete(text: str, settings: Settings) -> str:
    """Ray's configuration with everything that Ray has no setting for.

    Args:
        text: as Ray has written it.
        settings: of the server.

    Raises:
        UnknownTemplateError: a line that a rule needs is not there.
    """
    if text.startswith(MARK):
        return text
    for what, pattern, replacement in _rules(settings):
        text, found = re.subn(pattern, replacement, text, flags=re.M)
        if not found:
            raise _unknown(what, pattern)
    # A server without gateways answers 503 at once. With Ray's fallback, requests would wait for a replica.
    text = _FALLBACK.sub("", text)
    if re.search(r"^\s*server .* backup\b", text, flags=re.M):
        raise _unknown("no fallback", _FALLBACK.pattern)
    without, found = _NOBODY.subn("", text)
    if not found:
        raise _unknown("503 before gateways are known", _NOBODY.pattern)
    knows = re.search(r"^    use_backend ", text, flags=re.M)  # at the start it knows no gateway yet
    return MARK + (text if knows else without)


def _rules(settings: Settings) -> list[tuple[str, str, str]]:
    """Purpose, pattern and replacement of each rule."""
    head, idle, host = settings["head_timeout_s"], settings["idle_timeout_s"], settings["stats_host"]
    others = f" if !{{ src {' '.join(settings['proxies'])} }}" if settings["proxies"] else ""
    limits = [
        "stick-table type ipv6 size 100k expire 10m store conn_cur",
        f"tcp-request connection track-sc0 src{others}",
        f"tcp-request connection reject if {{ sc0_conn_cur gt {settings['connections_per_address']} }}",
        # Paths contain user ids, so requests are logged below the log level, as Ray logs health checks.
        "http-request set-log-level debug",
    ]
    times = [f"timeout http-request {head}s", f"timeout http-keep-alive {idle}s", "option http-buffer-request"]
    address = "    option forwardfor\n"  # appended to the header that a client may have sent
    return [
        ("the admin socket is its owner's", r"^(    stats socket \S+ mode) 666 level admin", r"\1 600 level admin"),
        ("times of clients", r"^    timeout http-keep-alive \d+s$", _lines(times)),
        ("no paths in the log, clients' addresses to gateways", r"^    option httplog\n", address),
        ("503 while no gateway runs", r"^    errorfile 503 .*$", f"    errorfile 503 {settings['unavailable_file']}"),
        ("metrics are local", r"^(frontend prometheus\n    bind) :", rf"\1 {host}:"),
        ("statistics are local", r"^(listen stats\n  bind) \*:", rf"\1 {host}:"),
        (
            "limits by address",
            r"^(frontend (?:http|grpc)_frontend\n(?:    #.*\n)*    bind .*)$",
            rf"\1\n{_lines(limits)}",
        ),
    ]


def _lines(lines: Sequence[str]) -> str:
    return "\n".join(f"    {line}" for line in lines)


def _unknown(what: str, pattern: str) -> UnknownTemplateError:
    return UnknownTemplateError(
        f"Ray's HAProxy configuration has no line for {what!r}, expected {pattern!r}; "
        "use the Ray release that requirements name, or adapt ray_apps/haproxy/rules.py"
    )


def main(argv: Sequence[str]) -> None:
    """`rules.py SETTINGS BINARY ARGUMENTS...`: completes the file behind `-f` and runs the binary in this process."""
    settings, binary, *arguments = argv
    if "-f" in arguments:
        path = Path(arguments[arguments.index("-f") + 1])
        completed = complete(path.read_text(encoding="utf-8"), json.loads(Path(settings).read_text(encoding="utf-8")))
        path.write_text(completed, encoding="utf-8")
    os.execv(binary, [binary, *arguments])


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except UnknownTemplateError as error:
        sys.exit(str(error))
