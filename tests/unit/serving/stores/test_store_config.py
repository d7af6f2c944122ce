from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from contracts.config import validate
from contracts.errors import ConfigError
from serving.stores.config import PASSWORD_VARIABLE, StoreConfig
from serving.stores.keys import Keys


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"shop": "My Shop"}, "shop: String should match pattern"),
        ({"address": "localhost:6379"}, "expected redis://host:port, rediss://host:port or unix:///path"),
        ({"address": "http://store:6379"}, "address has scheme 'http'"),
        ({"address": "redis://store:6379/0?password=s3cret"}, "address holds credentials"),
        ({"address": "redis://store:port/0"}, "address has more than host, port and database"),
        ({"address": "unix://path"}, "address has scheme 'unix'"),
        ({"address": "unix:///srv/shop #1/redis.sock"}, "write %3F or %23 instead"),
        ({"address": "redis://[::1]:6379"}, "IPv6 literal, which Feast cannot parse; use a host name"),
        ({"address": "redis://store", "ca_file": "ca.pem"}, "ca_file is set but address is not rediss://"),
        ({"username": "me", "password_file": "x"}, "username, password_file set without address"),
        ({"seen_error_rate": 1.0}, "seen_error_rate"),
        ({"embedded": {"fsync": "everysec"}}, "embedded.fsync"),
        ({"adress": "redis://store"}, "unknown key 'adress'; legal keys: address"),
    ],
)
def test_wrong_settings_are_refused_by_name(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        validate(StoreConfig, values, source="test")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "values",
    [
        {"password": "s3cret"},
        {"address": "redis://:s3cret@store:6379"},
        {"address": "redis://user:s3cret@store:6379"},
        {"address": "redis://s3cret@store:6379"},
        {"address": "redis://:s3/cret@store:6379"},
        {"address": "rediss://user:s3cret@[::1"},
        {"address": "redis://store:6379/0?password=s3cret"},
        {"address": "redis://store:s3cret"},
    ],
)
def test_secrets_in_settings_are_refused_and_not_shown(values: dict[str, object]) -> None:
    with pytest.raises(ConfigError) as caught:
        validate(StoreConfig, values, source="test")
    with pytest.raises(ValidationError) as raw:
        StoreConfig.model_validate(values)
    for text in (str(caught.value), str(raw.value)):
        assert next(iter(values)) in text
        assert "cret" not in text


def test_a_password_comes_from_its_file_or_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "password"
    config = StoreConfig(address="redis://store", password_file=file)
    with pytest.raises(ConfigError, match=r"the secret in .*/password cannot be read: No such file"):
        config.password()
    file.write_text("from the file\n")
    monkeypatch.setenv(PASSWORD_VARIABLE, "from the environment")
    assert config.password() == "from the file"
    assert StoreConfig(address="redis://store").password() == "from the environment"
    assert StoreConfig().password() is None  # the embedded one asks for none
    monkeypatch.delenv(PASSWORD_VARIABLE)
    assert StoreConfig(address="redis://store").password() is None
    file.write_text("\n")
    with pytest.raises(ConfigError, match="is empty; write it there"):
        config.password()
    file.write_bytes(b"\xff\n")
    with pytest.raises(ConfigError, match="it is not UTF-8"):
        config.password()


def test_key_names() -> None:
    keys = Keys("toys")
    assert keys.recent("u1") == "toys:v3:recent:u1"
    assert keys.day("u1") == "toys:v3:day:u1"
    assert keys.seen("u1") == "toys:v3:seen:u1"
    assert keys.event("u:u1", "e1").startswith("toys:v3:event:")
    assert "u1" not in keys.event("u:u1", "e1").removeprefix("toys:v3:event:")
    assert len({keys.event("u:a", "b:c"), keys.event("u:a:b", "c"), keys.event("s:a", "b:c")}) == 3
    assert keys.popular(20_000) == "toys:v3:popular:20000"
    assert keys.erased == "toys:v3:erased"
    assert keys.interactions == "toys:v3:interactions"
    assert keys.dead_letters == "toys:v3:dead_letters"
    assert keys.served == "toys:v3:served"
    assert keys.meta == "toys:v3:meta"


def test_the_shipped_feast_file_is_what_the_code_uses() -> None:
    from serving.stores.feast_repo import repo_values

    config = StoreConfig(address="redis://127.0.0.1:6379")
    file = Path(__file__).parents[4] / "configs/feast/feature_store.yaml"
    assert yaml.safe_load(file.read_text()) == repo_values(config, str(config.address))
