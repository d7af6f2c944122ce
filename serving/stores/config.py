"""Settings of the stores."""

from __future__ import annotations

from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, model_validator

from contracts.clock import DAY_S
from contracts.config import StrictConfig
from contracts.ids import user_of_subject


class EmbeddedRedisConfig(StrictConfig):
    """The Redis that is started when no address is given."""

    data_dir: Path = Path("var/redis")
    """Folder of the append-only file; one owner at a time."""
    port: int | None = Field(default=None, ge=1, le=65_535)
    """Port on 127.0.0.1; unset = the one used last in this folder if it is free, else any free one."""
    fsync: Literal["always", "no"] = "no"
    """`always` survives a crash of the machine, `no` one of every process; `everysec` may delay writes by seconds."""
    max_memory_mb: int = Field(default=1024, ge=8)
    """Writes beyond this are refused; nothing is evicted."""
    start_timeout_s: float = Field(default=30.0, gt=0)
    """How long loading the append-only file may take."""


class StoreConfig(StrictConfig):
    """Where the stores are and how they are used."""

    shop: str = Field(default="shop", pattern=r"^[a-z0-9][a-z0-9_]*$")
    """Prefix of every key and Feast's project; the bundle's manifest names the same shop."""
    address: str | None = None
    """redis://host:port/db, or rediss:// for TLS; unset = the embedded Redis."""
    username: str | None = None
    """User at the address, if it asks for one."""
    password: SecretStr | None = None
    """Password at the address, if it asks for one."""
    ca_file: Path | None = None
    """Certificate authority of a rediss:// address; unset = those of the system."""
    embedded: EmbeddedRedisConfig = EmbeddedRedisConfig()
    """Used when there is no address."""
    feast_dir: Path = Path("var/feast")
    """Folder of Feast's registry and offline tables."""
    records_dir: Path = Path("var/records")
    """Folder of what serving records for training, a folder a shop in it."""
    connect_timeout_ms: int = Field(default=500, ge=1)
    """Limit of opening a connection."""
    read_timeout_ms: int = Field(default=200, ge=1)
    """Limit of a whole read or write of serving, retries included."""
    bulk_timeout_s: float = Field(default=30.0, gt=0)
    """Limit of one pipelined command batch of materialize."""
    pool_size: int = Field(default=8, ge=1)
    """Connections of one process."""
    history_length: int = Field(default=50, ge=1)
    """Recent items kept per subject."""
    history_days: int = Field(default=30, ge=1)
    """Recent items older than this before the newest one are dropped."""
    seen_backend: Literal["auto", "bitmap", "module"] = "bitmap"
    """`bitmap` keeps seen items in plain strings, `module` in filters of RedisBloom; `auto` asks the server for it."""
    seen_window_days: int = Field(default=7, ge=1, le=63)
    """Shop-local days, today included, that an item counts as seen."""
    seen_error_rate: float = Field(default=0.01, gt=0, lt=1)
    """Share of unseen items that the seen filter may hide, over the whole window."""
    session_days: int = Field(default=7, ge=1)
    """Keys of a visitor without a user id expire so many days after the last interaction."""
    user_days: int = Field(default=90, ge=1)
    """Recent items, categories and seen ring of a user expire so many days after the last interaction."""
    event_memory_hours: int = Field(default=24, ge=1)
    """Hours for which the ids of accepted events are remembered; an event that comes again later counts again."""
    popularity_half_life_days: float = Field(default=3.0, gt=0)
    """An interaction counts half after so many days."""

    def lifetime_s(self, subject: str) -> int:
        """Seconds after the last interaction at which the keys of a subject expire."""
        return DAY_S * (self.session_days if user_of_subject(subject) is None else self.user_days)

    @model_validator(mode="after")
    def _users_outlive_their_history(self) -> StoreConfig:
        longest = max(self.history_days, self.seen_window_days)
        if self.user_days < longest:
            raise ValueError(
                f"user_days={self.user_days} is below history_days={self.history_days} or "
                f"seen_window_days={self.seen_window_days}: what still counts would expire; set at least {longest}"
            )
        return self

    @model_validator(mode="after")
    def _check_address(self) -> StoreConfig:
        if self.address is None:
            given = [name for name in ("username", "password", "ca_file") if getattr(self, name) is not None]
            if given:
                raise ValueError(f"{', '.join(given)} set without address; they belong to a redis:// or rediss:// one")
            return self
        parts = urlsplit(self.address)
        if parts.scheme not in ("redis", "rediss") or not parts.hostname:
            raise ValueError(f"address has scheme {parts.scheme!r}; expected redis://host:port or rediss://host:port")
        if parts.username or parts.password:
            raise ValueError("address holds credentials; set username and password instead, they are kept out of logs")
        if ":" in parts.hostname:
            raise ValueError("address holds an IPv6 literal, which Feast cannot parse; use a host name")
        if self.ca_file is not None and parts.scheme != "rediss":
            raise ValueError("ca_file is set but address is not rediss://; a certificate authority needs TLS")
        return self
