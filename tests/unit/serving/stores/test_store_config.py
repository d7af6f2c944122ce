from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from contracts.config import validate
from contracts.errors import ConfigError
from serving.stores.config import StoreConfig
from serving.stores.keys import Keys


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"shop": "My Shop"}, "shop: String should match pattern"),
        ({"address": "localhost:6379"}, "expected redis://host:port or rediss://host:port"),
        ({"address": "http://store:6379"}, "address has scheme 'http'"),
        ({"address": "redis://user:secret@store:6379"}, "set username and password instead"),
        ({"address": "redis://[::1]:6379"}, "IPv6 literal, which Feast cannot parse; use a host name"),
        ({"address": "redis://store", "ca_file": "ca.pem"}, "ca_file is set but address is not rediss://"),
        ({"username": "me", "password": "x"}, "username, password set without address"),
        ({"seen_error_rate": 1.0}, "seen_error_rate"),
        ({"embedded": {"fsync": "everysec"}}, "embedded.fsync"),
        ({"adress": "redis://store"}, "unknown key 'adress'; legal keys: address"),
    ],
)
def test_wrong_settings_are_refused_by_name(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        validate(StoreConfig, values, source="test")
    assert message in str(caught.value)


def test_passwords_stay_out_of_messages() -> None:
    assert "secret" not in repr(StoreConfig(address="redis://store", password="secret"))  # type: ignore[arg-type]


def test_key_names() -> None:
    keys = Keys("toys")
    assert keys.recent("u1") == "toys:v3:recent:u1"
    assert keys.day("u1") == "toys:v3:day:u1"
    assert keys.seen("u1") == "toys:v3:seen:u1"
    assert keys.event("e1") == "toys:v3:event:e1"
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
