"""Which files count as pictures, for encoding and for serving."""

from __future__ import annotations

from pathlib import Path
from typing import Final

HEAD_BYTES: Final = 16
_SIGNATURES: Final = (
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"GIF87a", "image/gif"),
    (0, b"GIF89a", "image/gif"),
    (8, b"WEBP", "image/webp"),
    (4, b"ftypavif", "image/avif"),
    (4, b"ftypavis", "image/avif"),
    (0, b"BM", "image/bmp"),
)
PICTURE_FORMATS: Final = "JPEG, PNG, GIF, WebP, AVIF or BMP"


def media_type(head: bytes) -> str | None:
    """Media type of a picture by its first 16 bytes, whatever its name; None = not a picture.

    SVG does not count: it is a document that may carry scripts.
    """
    return next((kind for start, mark, kind in _SIGNATURES if head[start : start + len(mark)] == mark), None)


def local_picture(base: Path, location: str) -> tuple[Path, str] | None:
    """File and media type of a picture below a folder; None if there is no picture, or the path leaves the folder.

    Args:
        base: a resolved folder.
        location: a path relative to it, or an absolute path inside.
    """
    try:
        path = (base / location).resolve()
        if not path.is_relative_to(base) or not path.is_file():
            return None
        with path.open("rb") as stream:
            kind = media_type(stream.read(HEAD_BYTES))
    except (OSError, ValueError, RuntimeError):  # for example a NUL in the name, or a cycle of links
        return None
    return None if kind is None else (path, kind)
