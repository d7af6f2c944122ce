from __future__ import annotations

from pathlib import Path

import pytest

from contracts.pictures import local_picture, media_type

PNG = b"\x89PNG\r\n\x1a\n" + bytes(8)


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"GIF89a", "image/gif"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "image/webp"),
        (b"\x00\x00\x00\x1cftypavif", "image/avif"),
        (b"BM", "image/bmp"),
        (b"<svg xmlns=", None),
        (b"<!DOCTYPE html>", None),
        (b"", None),
    ],
)
def test_the_first_bytes_tell_the_media_type(head: bytes, kind: str | None) -> None:
    assert media_type(head) == kind


def test_pictures_below_the_folder_are_found_and_no_others(tmp_path: Path) -> None:
    base = tmp_path / "raw #1?"
    base.mkdir()
    for path in (base / "a?b#c%20.jpg", tmp_path / "secret.png"):
        path.write_bytes(PNG)
    (base / "page.png").write_text("<script>alert(1)</script>")
    (base / "out.png").symlink_to(tmp_path / "secret.png")
    (base / "circle.png").symlink_to("circle.png")
    assert local_picture(base, "a?b#c%20.jpg") == (base / "a?b#c%20.jpg", "image/png")
    assert local_picture(base, str(base / "a?b#c%20.jpg")) is not None
    for location in (
        *("../secret.png", "out.png", "circle.png", "page.png", "gone.png", "", ".", "a\x00.png", "x" * 5_000),
        *(str(tmp_path / "secret.png"), "s3://bucket/a.png", "https://shop/a.png"),
    ):
        assert local_picture(base, location) is None
