"""Which bundle is in production, and how it came to be: one small document, changed in one step or not at all.

The registry lies beside the bundles, in a folder or under an S3 prefix:

    registry.json   RegistryState
    <version>/      bundles

A change is written only where the document is still the one that was read (a lock and a comparison in a folder,
a conditional write in S3). Of two concurrent changes one wins; the other raises RegistryError.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal, Protocol

from contracts.bundle import check_parts, open_bundle
from contracts.config import StrictConfig
from contracts.errors import BundleError, RegistryError
from contracts.files import atomic_file, private_folder
from contracts.json_text import first_fault, parse_json
from contracts.manifest import MANIFEST, check_version, parse_manifest

REGISTRY_FILE: Final = "registry.json"
_S3 = "s3://"


class RegistryEntry(StrictConfig):
    """One change of the production pointer."""

    action: Literal["promote", "rollback"]
    """What was asked for."""
    version: str
    """Production from then on."""
    previous: str | None
    """Production until then."""
    when: str
    """UTC, ISO 8601."""
    reason: str
    """In words."""


class RegistryState(StrictConfig):
    """The registry's document."""

    production: str | None = None
    """Version that serves; null before the first promotion."""
    history: tuple[RegistryEntry, ...] = ()
    """Every change, oldest first."""


class Backend(Protocol):
    """Where the document lies. A revision is whatever tells one state of it from the next; None = no document."""

    def read(self) -> tuple[bytes | None, str | None]:
        """The document and its revision."""
        ...

    def write(self, content: bytes, revision: str | None) -> bool:
        """Writes if the revision is still that one; whether it did."""
        ...

    def check(self, version: str) -> None:
        """Raises BundleError unless the version is there and whole."""
        ...


class Registry:
    """The production pointer with its history; `Registry.open` is the way in."""

    def __init__(self, backend: Backend, uri: str) -> None:
        self._backend = backend
        self.uri = uri

    @classmethod
    def open(cls, uri: str | Path) -> Registry:
        """Opens the registry of a folder of bundles or of an `s3://bucket/prefix`; it need not exist yet.

        Raises:
            RegistryError: an address of another kind.
        """
        text = str(uri)
        if text.startswith(_S3):
            return cls(S3Backend(text), text)
        if "://" in text:
            raise RegistryError(f"registry {text!r} is neither a folder nor s3://bucket/prefix")
        return cls(FolderBackend(Path(text)), text)

    def production(self) -> str | None:
        """Version that serves, None before the first promotion."""
        return self._read()[0].production

    def history(self) -> tuple[RegistryEntry, ...]:
        """Every change, oldest first."""
        return self._read()[0].history

    def promote(self, version: str, reason: str) -> RegistryEntry:
        """Makes a version production.

        Raises:
            RegistryError: the version is unknown or damaged, or somebody else changed the registry meanwhile.
        """
        state, revision = self._read()
        return self._change("promote", version, reason, state, revision)

    def rollback(self, reason: str) -> RegistryEntry:
        """Makes the version production that was so before the present one was promoted.

        Raises:
            RegistryError: there is none, it is damaged, or somebody else changed the registry meanwhile.
        """
        state, revision = self._read()
        promoted = _promoted(state)
        if len(promoted) < 2:
            raise RegistryError(f"nothing to roll back to from {state.production!r}; promote a version instead")
        return self._change("rollback", promoted[-2], reason, state, revision)

    def _change(
        self,
        action: Literal["promote", "rollback"],
        version: str,
        reason: str,
        state: RegistryState,
        revision: str | None,
    ) -> RegistryEntry:
        try:
            check_version(version)
            self._backend.check(version)
        except BundleError as error:
            raise RegistryError(f"cannot make {version!r} production: {error}") from error
        entry = RegistryEntry(
            action=action,
            version=version,
            previous=state.production,
            when=datetime.now(UTC).isoformat(timespec="milliseconds"),
            reason=reason,
        )
        changed = RegistryState(production=version, history=(*state.history, entry))
        if not self._backend.write(changed.model_dump_json(indent=2).encode(), revision):
            raise RegistryError(f"{self.uri} was changed by somebody else during this {action}; look again and retry")
        return entry

    def _read(self) -> tuple[RegistryState, str | None]:
        content, revision = self._backend.read()
        if content is None:
            return RegistryState(), revision
        try:
            state = RegistryState.model_validate(parse_json(content))
            _promoted(state)
        except ValueError as error:
            raise RegistryError(
                f"{REGISTRY_FILE} in {self.uri} is not a registry's document: {first_fault(error)}; bring back a copy "
                "of it, or move it away and promote a version"
            ) from error
        return state, revision


def _promoted(state: RegistryState) -> list[str]:
    """Versions that a roll-back goes through, production last; a version that was promoted twice in a row is one.

    Raises:
        ValueError: the history does not lead to what is in production, or names something that is no bundle.
    """
    promoted: list[str] = []
    production = None
    for number, entry in enumerate(state.history):
        if entry.previous != production:
            raise ValueError(f"history[{number}] follows {entry.previous!r}, but {production!r} was in production")
        try:
            check_version(entry.version)
        except BundleError as error:
            raise ValueError(f"history[{number}]: {error}") from None
        production = entry.version
        if entry.action == "rollback":
            if production not in promoted:
                raise ValueError(f"history[{number}] rolls back to {production!r}, which was not promoted before")
            while promoted[-1] != production:
                promoted.pop()
        elif promoted[-1:] != [production]:
            promoted.append(production)
    if state.production != production:
        raise ValueError(f"{state.production!r} is in production, the history leads to {production!r}")
    return promoted


class FolderBackend:
    """A document in a folder; the lock is the operating system's and goes with its holder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / REGISTRY_FILE

    def read(self) -> tuple[bytes | None, str | None]:
        if not self._path.is_file():
            return None, None
        content = self._path.read_bytes()
        return content, content.decode(errors="replace")

    def write(self, content: bytes, revision: str | None) -> bool:
        private_folder(self._folder)
        with self._lock():
            if self.read()[1] != revision:
                return False
            with atomic_file(self._path, durable=True) as temporary:
                temporary.write_bytes(content)
        return True

    def check(self, version: str) -> None:
        open_bundle(self._folder / version)

    @contextmanager
    def _lock(self) -> Iterator[None]:
        with (self._folder / f".{REGISTRY_FILE}.lock").open("w") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield


class S3Backend:
    """A document under an S3 prefix, written with If-Match or If-None-Match."""

    def __init__(self, uri: str) -> None:
        self._bucket, _, prefix = uri.removeprefix(_S3).partition("/")
        self._prefix = f"{prefix.rstrip('/')}/" if prefix else ""
        if not self._bucket:
            raise RegistryError(f"{uri!r} names no bucket; expected s3://bucket/prefix")
        import boto3  # only here: a registry in a folder needs no AWS client

        self._client = boto3.client("s3")

    def read(self) -> tuple[bytes | None, str | None]:
        return self._get(REGISTRY_FILE) or (None, None)

    def write(self, content: bytes, revision: str | None) -> bool:
        condition = {"IfNoneMatch": "*"} if revision is None else {"IfMatch": revision}
        try:
            self._client.put_object(Bucket=self._bucket, Key=self._key(REGISTRY_FILE), Body=content, **condition)
        except self._client.exceptions.ClientError as error:
            if error.response["Error"]["Code"] in ("PreconditionFailed", "ConditionalRequestConflict", "412", "409"):
                return False
            raise RegistryError(f"s3://{self._bucket} refused the registry's change: {error}") from error
        return True

    def check(self, version: str) -> None:
        """Looks at the manifest and the sizes of its files; checksums are compared when the bundle is opened."""
        found = self._get(f"{version}/{MANIFEST}")
        if found is None:
            raise BundleError(f"no {MANIFEST} under {version!r}")
        manifest = parse_manifest(found[0], f"{MANIFEST} under {version!r}")
        if manifest.version != version:
            raise BundleError(f"the manifest under {version!r} is of bundle {manifest.version!r}")
        check_parts(manifest)
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=self._key(f"{version}/")
        )
        sizes = {entry["Key"]: entry["Size"] for page in pages for entry in page.get("Contents", ())}
        for name, entry in manifest.files.items():
            size = sizes.get(self._key(f"{version}/{name}"))
            if size != entry.size:
                raise BundleError(f"{name!r} has {size} bytes, the manifest says {entry.size}")

    def _get(self, name: str) -> tuple[bytes, str] | None:
        """Content and revision of an object; None = there is none."""
        try:
            found = self._client.get_object(Bucket=self._bucket, Key=self._key(name))
        except self._client.exceptions.NoSuchKey:
            return None
        except self._client.exceptions.ClientError as error:
            raise RegistryError(f"s3://{self._bucket}/{self._key(name)} cannot be read: {error}") from error
        return found["Body"].read(), found["ETag"]

    def _key(self, name: str) -> str:
        return self._prefix + name
