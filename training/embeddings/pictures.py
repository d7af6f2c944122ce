"""Opens untrusted pictures: those that are too large are refused by their header, before they are decoded."""

from __future__ import annotations

import io
import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Final

from contracts.errors import DataError
from contracts.pictures import HEAD_BYTES, PICTURE_FORMATS, media_type
from training.embeddings.config import ImageEncoderConfig
from training.embeddings.content import read_content

if TYPE_CHECKING:
    from PIL.Image import Image

_MAX_RATIO: Final = 100
"""Largest ratio of the sides: encoders scale the shorter side, so a thin picture would become huge."""
_OBJECT: Final = re.compile(r"<[^<>]* at 0x[0-9a-fA-F]+>")


def read_picture(location: str, base: Path, limits: ImageEncoderConfig) -> bytes:
    """Bytes of a picture after its header was checked against the limits.

    Raises:
        DataError: it cannot be read, is of no known format or too large; names its path.
    """
    content = read_content(location, base, limits.max_bytes)
    with _opened(content, location, limits):
        return content


def decode_picture(content: bytes, location: str, limits: ImageEncoderConfig) -> Image:
    """The first frame as RGB.

    Raises:
        DataError: it cannot be decoded or is too large; names its path.
    """
    with _opened(content, location, limits) as picture:
        try:
            return picture.convert("RGB")
        except Exception as error:  # decoders raise errors of all kinds
            raise _unreadable(location, error) from error


def _opened(content: bytes, location: str, limits: ImageEncoderConfig) -> Image:
    from PIL import Image

    kind = media_type(content[:HEAD_BYTES])
    if kind is None:
        raise DataError(f"{location} is no picture by its first bytes; expected {PICTURE_FORMATS}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # replaced by our limits
            picture = Image.open(io.BytesIO(content), formats=[kind.removeprefix("image/").upper()])
    except Exception as error:  # decoders raise errors of all kinds
        raise _unreadable(location, error) from error
    width, height = picture.size
    if max(width, height) > limits.max_side or width * height > limits.max_pixels:
        raise DataError(
            f"{location} has {width} x {height} pixels; expected sides up to {limits.max_side} and an area up to "
            f"{limits.max_pixels}; scale it down, or raise image.max_side and image.max_pixels"
        )
    if max(width, height) > _MAX_RATIO * min(width, height):
        raise DataError(f"{location} has {width} x {height} pixels; expected one side at most {_MAX_RATIO} x the other")
    return picture


def _unreadable(location: str, error: Exception) -> DataError:
    reason = _OBJECT.sub("the file", str(error)) or "no reason given"
    return DataError(f"{location} cannot be decoded: {type(error).__name__}: {reason}")
