"""The manifest of an artifact bundle. It may come from outside, so everything in it is checked."""

from __future__ import annotations

import re
from typing import Final

from pydantic import Field, JsonValue, StrictBool, StrictFloat, StrictInt, field_validator

from contracts.columns import EventName
from contracts.config import StrictConfig
from contracts.errors import BundleError
from contracts.history import HistoryReach
from contracts.json_text import first_fault, parse_json

SCHEMA_VERSION: Final = 2
CONVERT: Final = "python -m ray_apps.jobs.convert_bundle --help"
"""Converts a bundle of the previous version."""
MANIFEST: Final = "manifest.json"
MANIFEST_DIGEST: Final = "manifest.sha256"
_NAME: Final = re.compile(r"[^\x00-\x1f\x7f\\:\ud800-\udfff]+")
"""Legal characters of a path; backslash and colon are special on some systems, lone surrogates cannot be encoded."""
_MAX_NAME_BYTES: Final = 255


class FileEntry(StrictConfig):
    """Checksum of one file."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """Hex digest of the content."""
    size: int = Field(ge=0, strict=True)
    """Bytes."""


class EncoderEntry(StrictConfig):
    """Which encoder made the text or picture embeddings."""

    encoder_id: str
    """Name in its library."""
    weights_hash: str
    """SHA-256 of the weights."""
    pretrained: StrictBool
    """False for the seeded stand-in of the offline demo."""
    dim: StrictInt
    """Components after the PCA."""


class Manifest(StrictConfig):
    """Content and origin of a bundle."""

    schema_version: int
    """Version of the layout; other versions are refused."""
    version: str
    """Name of the bundle and of its folder."""
    shop: str
    """Shop whose ids it uses; prefix of its keys in the stores."""
    created: str
    """UTC, ISO 8601."""
    parent: str | None = None
    """Bundle that it was derived from."""
    git_revision: str | None = None
    """Revision of the code that built it."""
    raw_dir: str
    """Folder of the raw tables; picture paths are relative to it."""
    timezone: str
    """Time zone of the shop, IANA."""
    first_day: str
    """First day of the data window, YYYY-MM-DD."""
    last_day: str
    """Last day of the data window, YYYY-MM-DD."""
    num_items: int = Field(ge=0, strict=True)
    """Rows of the catalogue."""
    embedding_dim: StrictInt
    """Width of the candidate embeddings."""
    history: HistoryReach
    """How much of a subject's history the models read."""
    seen_events: tuple[EventName, ...] = Field(strict=False)  # JSON has arrays only
    """Events that mark their item as seen."""
    reads_popularity: StrictBool
    """Whether the ranker reads the popularity of its candidates."""
    schema_digest: str
    """Digest of the feature schema."""
    vocabulary_hashes: dict[str, str]
    """Digest of each vocabulary."""
    files: dict[str, FileEntry]
    """All files except the manifest, by relative path."""
    metrics: dict[str, StrictFloat]
    """Main metrics of training."""
    encoders: dict[str, EncoderEntry]
    """By kind, `text` and `image`."""
    missing: tuple[str, ...] = Field(default=(), strict=False)  # JSON has arrays only
    """Optional columns that the shop lacks; their features are left out."""
    warnings: tuple[str, ...] = Field(default=(), strict=False)
    """What users of the bundle should know."""
    config: dict[str, JsonValue] = Field(default_factory=dict)
    """The whole job config as values, for people and later jobs. Serving does not read it."""

    def section(self, name: str) -> dict[str, JsonValue]:
        """A section of the job config; empty if missing."""
        found = self.config.get(name)
        return found if isinstance(found, dict) else {}

    @field_validator("files")
    @classmethod
    def _stays_inside(cls, files: dict[str, FileEntry]) -> dict[str, FileEntry]:
        for name in files:
            if not is_path(name):
                raise ValueError(
                    f"{name[:300]!r} is not a path below the bundle's folder; expected one such as 'items/price.npy'"
                )
        return files


def parse_manifest(content: bytes, source: str) -> Manifest:
    """Reads a manifest.

    Args:
        content: JSON.
        source: its origin, for messages.

    Raises:
        BundleError: not JSON, another schema version, an unknown field, a wrong type, or a path that leaves the folder.
    """
    try:
        values = parse_json(content)
        found = values.get("schema_version") if isinstance(values, dict) else None
        if found != SCHEMA_VERSION:
            fix = f"convert it by {CONVERT}" if found == SCHEMA_VERSION - 1 else "rebuild it"
            raise BundleError(f"{source} has schema version {found!r}, this code reads {SCHEMA_VERSION}; {fix}")
        return Manifest.model_validate(values)
    except ValueError as error:
        raise BundleError(f"{source} is not a bundle manifest: {first_fault(error)}; rebuild it") from error


def check_version(version: str) -> None:
    """Checks that a version is a plain name: others could lead to another folder.

    Raises:
        BundleError: the version is empty or not a plain name.
    """
    if not is_path(version) or "/" in version:
        raise BundleError(f"{version[:300]!r} is not the name of a bundle; expected a plain name")


def is_path(name: str) -> bool:
    """Whether a relative path stays below its folder and is legal on any system."""
    return (
        _NAME.fullmatch(name) is not None
        and len(name.encode()) <= _MAX_NAME_BYTES
        and not {"", ".", ".."} & set(name.split("/"))
    )
