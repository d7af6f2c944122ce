"""Reads weights and pictures from local files and S3."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Final

from contracts.errors import DataError
from contracts.files import atomic_dir

_S3: Final = "s3://"
_CHUNK: Final = 1 << 20


def is_s3(location: str) -> bool:
    """Whether a location names S3 objects."""
    return location.startswith(_S3)


def read_content(location: str, base: Path, max_bytes: int) -> bytes:
    """Bytes of a picture: an s3:// object, or a file whose relative path starts at `base`.

    Raises:
        DataError: it cannot be read, is no plain file, or larger than `max_bytes`.
    """
    if is_s3(location):
        bucket, key = _split(location)
        return _get(bucket, key, location, max_bytes)
    path = base / location
    try:
        if path.exists() and not path.is_file():  # reading a pipe would never end
            raise DataError(f"{path} cannot be read: it is no plain file")
        size = path.stat().st_size
        if size <= max_bytes:
            return path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise DataError(f"{str(path)!r} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    raise _too_large(str(path), size, max_bytes)


def fetch_weights(location: str, cache_dir: Path) -> Path:
    """A local path of weights: `location` itself, or the downloaded copy of an s3:// object or prefix.

    A prefix becomes a folder; a complete copy is not downloaded again.

    Raises:
        DataError: the S3 location is empty or cannot be read.
    """
    if not is_s3(location):
        return Path(location)
    bucket, key = _split(location)
    target = cache_dir / "weights" / hashlib.sha256(location.encode()).hexdigest()[:16]
    if not target.is_dir():
        keys = _list(bucket, key.rstrip("/"), location)
        wanted = [name for name in keys if name == key or name.startswith(key.rstrip("/") + "/")]
        if not wanted:
            raise DataError(f"nothing at {location}; expected the weights of an encoder")
        with atomic_dir(target) as folder:
            for name in wanted:
                file = folder / (name.removeprefix(key).strip("/") or Path(key).name)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(_get(bucket, name, location))
    files = [path for path in target.rglob("*") if path.is_file()]
    return files[0] if len(files) == 1 and files[0].name == Path(key).name else target


def hash_path(path: Path) -> str:
    """SHA-256 of a file, or of the names and contents of all files of a folder."""
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            digest.update(str(file.relative_to(path)).encode())
            with file.open("rb") as stream:
                while chunk := stream.read(_CHUNK):
                    digest.update(chunk)
    return digest.hexdigest()


def _split(location: str) -> tuple[str, str]:
    bucket, _, key = location.removeprefix(_S3).partition("/")  # "?" and "#" belong to the key
    return bucket, key.lstrip("/")


def _list(bucket: str, prefix: str, location: str) -> list[str]:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        pages = _client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return [entry["Key"] for page in pages for entry in page.get("Contents", ())]
    except (BotoCoreError, ClientError) as error:
        raise DataError(f"{location} cannot be listed: {error}") from error


def _get(bucket: str, key: str, location: str, max_bytes: int | None = None) -> bytes:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        answer = _client().get_object(Bucket=bucket, Key=key)
        if max_bytes is not None and answer["ContentLength"] > max_bytes:
            raise _too_large(location, answer["ContentLength"], max_bytes)
        content: bytes = answer["Body"].read()
    except (BotoCoreError, ClientError) as error:
        raise DataError(f"{location} cannot be read: {error}") from error
    return content


def _too_large(location: str, size: int, max_bytes: int) -> DataError:
    return DataError(f"{location} has {size} bytes, expected at most {max_bytes}; shrink it or raise image.max_bytes")


def _client() -> Any:
    import boto3

    return boto3.client("s3")
