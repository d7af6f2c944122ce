"""Settings of the stores."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from contracts.clock import DAY_S, HOUR_S
from contracts.config import ShopName, StrictConfig
from contracts.features import HALF_LIFE_DAYS
from contracts.ids import user_of_subject
from contracts.secrets import read_secret, refuse_secret

PASSWORD_VARIABLE: Final = "RECOMMENDER_STORES_PASSWORD"
"""Environment variable with the password at a configured address."""


class EmbeddedRedisConfig(StrictConfig):
    """The embedded Redis, which runs if no address is set."""

    data_dir: Path = Path("var/redis")
    """Private folder of the append-only file and the socket; one owner at a time."""
    fsync: Literal["always", "no"] = "no"
    """`always` survives a crash of the machine, `no` only of processes; `everysec` could delay writes by seconds."""
    max_memory_mb: int = Field(default=1024, ge=8)
    """Writes beyond this are refused; nothing is evicted."""
    start_timeout_s: float = Field(default=30.0, gt=0)
    """How long loading the append-only file may take."""
    erasure_rewrite_s: float = Field(default=600.0, gt=0)
    """A rewrite that removes erased data from the append-only file begins within this time."""


class StoreConfig(StrictConfig):
    """Addresses, limits and lifetimes of the stores."""

    shop: ShopName = "shop"
    """Prefix of every key and name of Feast's project; must be the shop of the bundle."""
    address: str | None = None
    """redis://host:port/db, rediss:// for TLS, or unix:///path of a socket; unset = the embedded Redis."""
    username: str | None = None
    """User at the address, if it needs one."""
    password_file: Path | None = None
    """File with the password at the address; unset = that in `RECOMMENDER_STORES_PASSWORD`, if set."""
    ca_file: Path | None = None
    """Certificate authority of a rediss:// address; unset = those of the system."""
    embedded: EmbeddedRedisConfig = EmbeddedRedisConfig()
    """Used when there is no address."""
    feast_dir: Path = Path("var/feast")
    """Folder of Feast's registry and offline tables."""
    records_dir: Path = Path("var/records")
    """Folder of serving's records for training, with a folder per shop."""
    connect_timeout_ms: int = Field(default=500, ge=1)
    """Time limit of opening a connection."""
    read_timeout_ms: int = Field(default=200, ge=1)
    """Time limit of a read or write of serving, with its retries."""
    bulk_timeout_s: float = Field(default=30.0, gt=0)
    """Time limit of one batch of commands in a job."""
    pool_size: int = Field(default=8, ge=1)
    """Connections of one process."""
    history_length: int = Field(default=64, ge=1)
    """Recent items kept per subject."""
    history_days: int = Field(default=30, ge=1)
    """Recent items that are this many days older than the newest one are dropped."""
    seen_backend: Literal["auto", "bitmap", "module"] = "bitmap"
    """`bitmap` keeps seen items in plain strings, `module` in RedisBloom filters; `auto` = `module` if available."""
    seen_window_days: int = Field(default=7, ge=1, le=63)
    """Shop-local days, with today, for which an item counts as seen."""
    seen_error_rate: float = Field(default=0.01, gt=0, lt=1)
    """Share of unseen items that the seen filter may hide, over the whole window."""
    session_days: int = Field(default=7, ge=1)
    """Days after the last interaction until keys of a session expire."""
    first_event_hours: int = Field(default=6, ge=1)
    """Hours until keys of a session with a single event expire: most visitors never come back, and made-up sessions
    take little room."""
    user_days: int = Field(default=90, ge=1)
    """Days after the last interaction until recent items, categories and seen items of a user expire."""
    event_memory_hours: int = Field(default=24, ge=1)
    """Hours for which ids of accepted events are remembered; a later repeat counts as a new event."""
    popularity_half_life_days: float = Field(default=HALF_LIFE_DAYS, gt=0)
    """Days after which an interaction counts half."""

    def lifetime_s(self, subject: str, *, first: bool = False) -> int:
        """Seconds after the last interaction until keys of a subject expire; `first` = it is the only one."""
        if user_of_subject(subject) is not None:
            return DAY_S * self.user_days
        return HOUR_S * self.first_event_hours if first else DAY_S * self.session_days

    @model_validator(mode="after")
    def _first_events_go_first(self) -> StoreConfig:
        if self.first_event_hours * HOUR_S > self.session_days * DAY_S:
            raise ValueError(
                f"first_event_hours={self.first_event_hours} is longer than session_days={self.session_days}: of "
                f"two sessions the one that did more would go first; set at most {self.session_days * DAY_S // HOUR_S}"
            )
        return self

    def password(self) -> str | None:
        """The password at the configured address, read at every call; None = none.

        Raises:
            ConfigError: its file cannot be read.
        """
        return None if self.address is None else read_secret(self.password_file, PASSWORD_VARIABLE)

    @model_validator(mode="before")
    @classmethod
    def _no_secret(cls, values: object) -> object:
        refuse_secret(values, "password", PASSWORD_VARIABLE)
        return values

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
            unused = [name for name in ("username", "password_file", "ca_file") if getattr(self, name) is not None]
            if unused:
                raise ValueError(f"{', '.join(unused)} set without address; they belong to a redis:// or rediss:// one")
            return self
        parts = urlsplit(self.address)
        if parts.scheme == "unix" and parts.path.startswith("/") and not parts.netloc:
            if parts.query or parts.fragment:
                raise ValueError("address has a '?' or '#' in its path; write %3F or %23 instead")
            return self
        if parts.scheme not in ("redis", "rediss") or not parts.hostname:
            raise ValueError(
                f"address has scheme {parts.scheme!r}; expected redis://host:port, rediss://host:port or unix:///path"
            )
        if ":" in parts.hostname:
            raise ValueError("address holds an IPv6 literal, which Feast cannot parse; use a host name")
        if not re.fullmatch(r"rediss?://[^:/@?#]+(:\d{1,5})?(/\d*)?", self.address):
            raise ValueError("address has more than host, port and database; expected for example redis://host:6379/0")
        if self.ca_file is not None and parts.scheme != "rediss":
            raise ValueError("ca_file is set but address is not rediss://; a certificate authority needs TLS")
        return self
