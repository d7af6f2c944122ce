"""The production bundle and its history, in one small document with atomic changes.

The registry lies beside the bundles, in a folder or under an S3 prefix:

    registry.json   RegistryState
    <version>/      bundles

A change is written only if the document is unchanged since it was read (a lock and a comparison in a folder, a
conditional write in S3). Of two concurrent changes one wins; the other raises RegistryError.
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
    """Kind of the change."""
    version: str
    """Production after the change."""
    previous: str | None
    """Production before the change."""
    when: str
    """UTC, ISO 8601."""
    reason: str
    """Reason, in words."""


class RegistryState(StrictConfig):
    """The registry's document."""

    production: str | None = None
    """Version in production; null before the first promotion."""
    history: tuple[RegistryEntry, ...] = ()
    """All changes, oldest first."""


class Backend(Protocol):
    """Storage of the document. A revision is an opaque string for its present state; None = no document."""

    def read(self) -> tuple[bytes | None, str | None]:
        """Reads the document and its revision."""
        ...

    def write(self, content: bytes, revision: str | None) -> bool:
        """Writes the document if its revision is unchanged; returns whether it was written."""
        ...

    def check(self, version: str) -> None:
        """Raises BundleError unless the version exists and is complete."""
        ...


class Registry:
    """The production pointer with its history. Open it with `Registry.open`."""

    def __init__(self, backend: Backend, uri: str) -> None:
        self._backend = backend
        self.uri = uri

    @classmethod
    def open(cls, uri: str | Path) -> Registry:
        """Opens the registry of a folder of bundles or of `s3://bucket/prefix`; it need not exist yet.

        Raises:
            RegistryError: the address is neither.
        """
        text = str(uri)
        if text.startswith(_S3):
            return cls(S3Backend(text), text)
        if "://" in text:
            raise RegistryError(f"registry {text!r} is neither a folder nor s3://bucket/prefix")
        return cls(FolderBackend(Path(text)), text)

    def production(self) -> str | None:
        """Version in production; None before the first promotion."""
        return self._read()[0].production

    def history(self) -> tuple[RegistryEntry, ...]:
        """All changes, oldest first."""
        return self._read()[0].history

    def promote(self, version: str, reason: str) -> RegistryEntry:
        """Promotes a version to production.

        Raises:
            RegistryError: the version is unknown or damaged, or the registry was changed concurrently.
        """
        state, revision = self._read()
        return self._change("promote", version, reason, state, revision)

    def rollback(self, reason: str) -> RegistryEntry:
        """Rolls back to the version that was in production before the present one was promoted.

        Raises:
            RegistryError: there is none, it is damaged, or the registry was changed concurrently.
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
    """Versions in the order in which a roll-back leaves them, production last; repeated promotions count once.

    Raises:
        ValueError: the history does not end at the production version, or holds an illegal version.
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
    """A document in a folder, guarded by a lock of the operating system, which ends with its holder."""

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
        import boto3  # imported here: a registry in a folder needs no AWS client

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
        """Checks the manifest and the sizes of its files; opening the bundle compares the checksums."""
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
        """Content and revision of an object; None = it does not exist."""
        try:
            found = self._client.get_object(Bucket=self._bucket, Key=self._key(name))
        except self._client.exceptions.NoSuchKey:
            return None
        except self._client.exceptions.ClientError as error:
            raise RegistryError(f"s3://{self._bucket}/{self._key(name)} cannot be read: {error}") from error
        return found["Body"].read(), found["ETag"]

    def _key(self, name: str) -> str:
        return self._prefix + name
