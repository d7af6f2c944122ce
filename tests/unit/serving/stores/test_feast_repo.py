from __future__ import annotations

from pathlib import Path

import pytest

from contracts.presets import SHOP
from serving.stores.config import StoreConfig
from serving.stores.feast_repo import belongs_to, feature_references, online_key_pattern, repo_values
from serving.stores.keys import Keys


def test_features_are_those_of_the_contract() -> None:
    assert feature_references(SHOP) == [
        "user_profile:gender",
        "user_profile:age",
        "user_activity:top_category",
        "user_activity:top_category_long",
    ]


def test_feast_understands_the_connection_whatever_the_password_holds(tmp_path: Path) -> None:
    from feast.infra.online_stores.redis import RedisOnlineStore

    (tmp_path / "password").write_text('12,3="4\\')
    config = StoreConfig(
        address="rediss://store.example:6380/1",
        username="app",
        password_file=tmp_path / "password",
        ca_file=Path("/etc/ca, shop.pem"),
        connect_timeout_ms=300,
    )
    text = repo_values(config, str(config.address))["online_store"]["connection_string"]
    servers, options = RedisOnlineStore._parse_connection_string(text)
    assert servers == [{"host": "store.example", "port": "6380"}]
    assert options == {
        "db": 1,
        "username": "app",
        "password": '12,3="4\\',
        "ssl": True,
        "ssl_ca_certs": "/etc/ca, shop.pem",
        "socket_timeout": 0.2,
        "socket_connect_timeout": 0.3,
        "retry": None,
    }


def test_feast_understands_a_socket() -> None:
    from feast.infra.online_stores.redis import RedisOnlineStore

    text = repo_values(StoreConfig(), "unix:///var/a%20shop%20%231%3F/redis.sock")["online_store"]["connection_string"]
    _, options = RedisOnlineStore._parse_connection_string(text)
    assert options["unix_socket_path"] == "/var/a shop #1?/redis.sock"


@pytest.mark.parametrize("user", ["u1", "", "ü" * 300, "toys"])
def test_a_user_key_is_told_from_one_of_a_shop_with_a_longer_name(user: str) -> None:
    ours, theirs = Keys("toys").features(user), Keys("mytoys").features(user)
    head, tail = online_key_pattern("toys").split(b"*")
    assert all(key.startswith(head) and key.endswith(tail) for key in (ours, theirs))
    assert belongs_to(ours, "toys")
    assert not belongs_to(theirs, "toys")
