from __future__ import annotations

import stat
from pathlib import Path

import pytest
from pydantic import ValidationError

from contracts.errors import ConfigError
from ray_apps.haproxy.__main__ import main
from ray_apps.haproxy.check import check_haproxy, write_sample
from ray_apps.haproxy.config import HAProxyConfig
from ray_apps.haproxy.folder import BINARY, fill_folder
from ray_apps.haproxy.rules import MARK, UnknownTemplateError, complete

SETTINGS = HAProxyConfig(proxies=("10.0.0.1",)).model_dump() | {"unavailable_file": "/somewhere/503.http"}


@pytest.fixture
def written(tmp_path: Path) -> str:
    """What this release of Ray writes."""
    return write_sample(tmp_path).read_text(encoding="utf-8")


def test_what_ray_writes_is_completed(written: str) -> None:
    completed = complete(written, SETTINGS)
    for line in (
        "timeout http-request 5s",
        "timeout http-keep-alive 20s",
        "option http-buffer-request",
        "option forwardfor",
        "errorfile 503 /somewhere/503.http",
        "bind 127.0.0.1:9101",
        "bind 127.0.0.1:8404",
        "tcp-request connection track-sc0 src if !{ src 10.0.0.1 }",
        "tcp-request connection reject if { sc0_conn_cur gt 256 }",
    ):
        assert [kept.strip() for kept in completed.splitlines()].count(line) == 1, line
    assert "status 404" in completed, "a path that no application has"
    for gone in ("mode 666", "option httplog", "backup", "bind *:", "bind :"):
        assert gone in written
        assert gone not in completed
    assert complete(completed, SETTINGS) == completed


@pytest.mark.parametrize(
    "line",
    [
        "status 404 content-type",
        "mode 666 level admin",
        "option httplog",
        "    errorfile 503",
        "frontend prometheus\n",
        "listen stats\n",
    ],
)
def test_another_template_is_noticed(written: str, line: str) -> None:
    assert line in written
    with pytest.raises(UnknownTemplateError, match=r"no line for .*, expected .* adapt ray_apps/haproxy/rules.py"):
        complete(written.replace(line, "# changed "), SETTINGS)


def test_a_fallback_of_another_form_is_noticed(written: str) -> None:
    with pytest.raises(UnknownTemplateError, match="'no fallback'"):
        complete(written.replace("check backup", "check weight 1 backup"), SETTINGS)


def test_before_gateways_are_known_nothing_answers_404(tmp_path: Path) -> None:
    written = write_sample(tmp_path, gateway_port=None).read_text(encoding="utf-8")
    assert "status 404" in written
    assert "status 404" not in complete(written, SETTINGS)


def test_the_launcher_is_asked_before_anything_starts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(BINARY, fill_folder(folder, HAProxyConfig())[BINARY])
    check_haproxy()
    monkeypatch.setattr("ray.serve._private.haproxy.HAPROXY_CONFIG_TEMPLATE", "defaults\n    mode http\n")
    with pytest.raises(ConfigError, match="cannot serve: Ray's HAProxy configuration has no line for"):
        check_haproxy()
    monkeypatch.setenv(BINARY, str(folder / "nothing"))
    with pytest.raises(ConfigError, match="does not start"):
        check_haproxy()
    monkeypatch.delenv(BINARY)
    check_haproxy()


def test_the_folder_is_private_and_its_path_short(folder: Path) -> None:
    environment = fill_folder(folder, HAProxyConfig())
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    paths = [value for name, value in environment.items() if name.endswith(("SOCKET_PATH", "_LOC", "_PATH"))]
    assert all(Path(path).parent == folder for path in paths)
    with pytest.raises(ConfigError, match="too many for a socket"):
        fill_folder(folder / ("a" * 40), HAProxyConfig())
    folder.chmod(0o755)
    with pytest.raises(ConfigError, match="open to others"):
        fill_folder(folder, HAProxyConfig())


def test_a_launcher_may_call_another(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(BINARY, fill_folder(folder, HAProxyConfig(head_timeout_s=7))[BINARY])
    monkeypatch.setenv(BINARY, fill_folder(folder / "i", HAProxyConfig(head_timeout_s=9))[BINARY])
    check_haproxy()


def test_proxies_are_addresses() -> None:
    with pytest.raises(ValidationError, match="'balancer' does not appear to be an IPv4 or IPv6 network"):
        HAProxyConfig(proxies=("balancer",))


def test_a_mark_says_that_a_file_is_complete(written: str) -> None:
    assert not written.startswith(MARK)
    assert complete(written, SETTINGS | {"proxies": ()}).count("track-sc0 src\n") == 1


def test_a_cluster_of_ones_own_is_told_what_to_export(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = tmp_path / "haproxy.yaml"
    settings.write_text("idle_timeout_s: 70\nproxies: [10.0.0.0/8]\n", encoding="utf-8")
    assert main([str(folder), "--config", str(settings), "--first-port", "24000"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert f"export {BINARY}={folder / 'haproxy'}" in printed
    assert "export RAY_SERVE_FALLBACK_PROXY_HTTP_PORT=24003" in printed
    assert "export RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S=70" in printed
    assert "export RAY_SERVE_ENABLE_HA_PROXY=1" in printed
    assert "10.0.0.0/8" in (folder / "settings.json").read_text(encoding="utf-8")
    assert main([str(folder / ("a" * 40))]) == 2
    assert "too many for a socket" in capsys.readouterr().err
