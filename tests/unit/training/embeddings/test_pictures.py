"""Pictures that anybody may have uploaded: refused by their header, named by their path, never decoded in vain."""

from __future__ import annotations

import contextlib
import io
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from contracts.errors import DataError
from training.embeddings.config import ImageEncoderConfig
from training.embeddings.pictures import decode_picture, read_picture

LIMITS = ImageEncoderConfig()


def png_of(width: int, height: int) -> bytes:
    """A PNG of a few hundred bytes that promises an area."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(10))) + chunk(b"IEND", b"")
    )


def saved(kind: str, **settings: Any) -> bytes:
    stream = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 255, (30, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stream, kind, **settings)
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "AVIF", "BMP", "MPO"])
def test_known_formats_are_decoded_whatever_their_name(tmp_path: Path, kind: str) -> None:
    (tmp_path / "a?#%20b.dat").write_bytes(saved(kind))
    content = read_picture("a?#%20b.dat", tmp_path, LIMITS)
    picture = decode_picture(content, "a", LIMITS)
    assert (picture.mode, picture.size) == ("RGB", (40, 30))


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_of_many_frames_the_first_counts(kind: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "green", "blue")]
    stream = io.BytesIO()
    frames[0].save(stream, kind, save_all=True, append_images=frames[1:], lossless=True)
    assert decode_picture(stream.getvalue(), "a", LIMITS).getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((20_000, 10), r"wide.png has 20000 x 10 pixels; expected sides up to 16384 and an area up to 50000000; scale"),
        ((10_000, 10_000), r"wide.png has 10000 x 10000 pixels; expected sides up to 16384"),
        ((20_000, 20_000), r"wide.png"),
        ((10_000, 9), r"wide.png has 10000 x 9 pixels; expected one side at most 100 x the other"),
    ],
)
def test_what_is_too_large_is_refused_by_its_header(tmp_path: Path, size: tuple[int, int], message: str) -> None:
    (tmp_path / "wide.png").write_bytes(png_of(*size))
    for refuse in (
        lambda: read_picture("wide.png", tmp_path, LIMITS),
        lambda: decode_picture(png_of(*size), "wide.png", LIMITS),
    ):
        with pytest.raises(DataError, match=message):
            refuse()


def test_the_limits_are_settings(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(saved("PNG"))
    for limits, message in (
        ({"max_side": 39}, "sides up to 39"),
        ({"max_pixels": 1_199}, "area up to 1199"),
        ({"max_bytes": 99}, r"a.png has \d+ bytes, expected at most 99; shrink it or raise image.max_bytes"),
    ):
        with pytest.raises(DataError, match=message):
            read_picture("a.png", tmp_path, ImageEncoderConfig(**limits))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "AVIF", "BMP"])
def test_whatever_a_decoder_raises_is_an_unreadable_picture(kind: str) -> None:
    good = saved(kind)
    rng = np.random.default_rng(1)
    for _ in range(60):
        content = bytearray(good)
        for place in rng.integers(4, len(content), rng.integers(1, 40)):
            content[place] = rng.integers(0, 256)
        broken = bytes(content[: rng.integers(12, len(content))])
        with contextlib.suppress(DataError):
            decode_picture(broken, "images/b.x", LIMITS)


def test_messages_name_the_path_and_no_object() -> None:
    with pytest.raises(DataError) as caught:
        decode_picture(b"\x89PNG\r\n\x1a\n" + bytes(99), "images/b.x", LIMITS)
    assert caught.value.message.startswith("images/b.x cannot be decoded: ")
    assert " at 0x" not in caught.value.message


def test_text_chunks_that_unfold_are_unreadable() -> None:
    information = PngImagePlugin.PngInfo()
    for number in range(80):
        information.add_text(f"k{number}", "x" * 1_000_000, zip=True)
    content = saved("PNG", pnginfo=information)
    with pytest.raises(DataError, match=r"images/t.png cannot be decoded: ValueError: "):
        decode_picture(content, "images/t.png", LIMITS)


@pytest.mark.parametrize("kind", ["TIFF", "ICO", "PPM", "PCX", "DDS", "TGA", "PDF"])
def test_other_formats_are_named_as_such(kind: str) -> None:
    with pytest.raises(DataError, match="images/a is no picture by its first bytes; expected JPEG, PNG, GIF, WebP"):
        decode_picture(saved(kind), "images/a", LIMITS)


@pytest.mark.parametrize(
    "content", [b"", b"BM", b"<svg onload='alert(1)'/>", b"%!PS-Adobe", b"RIFF1234WAVE", b"\x00" * 99]
)
def test_what_is_no_picture(content: bytes) -> None:
    with pytest.raises(DataError, match=r"^images/a (is no picture|cannot be decoded)"):
        decode_picture(content, "images/a", LIMITS)


@pytest.mark.parametrize("location", ["a\x00b.png", "x" * 5_000, "folder", "pipe", "gone.png", "pipe/a.png", "circle"])
def test_what_cannot_be_opened_is_named(tmp_path: Path, location: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "circle").symlink_to("circle")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="cannot be read: "):
        read_picture(location, tmp_path, LIMITS)
