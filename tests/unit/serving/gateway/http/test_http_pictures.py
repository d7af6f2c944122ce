"""Pictures over HTTP: none leads out of the folder."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from contracts.bundle import Bundle
from contracts.errors import NotFoundError
from serving.gateway.catalogue.catalogue import Catalogue
from tests.fixtures.served_bundle import NOW, write_served_bundle
from tests.unit.serving.gateway.conftest import PIXEL


async def test_pictures_come_with_their_type(client: httpx.AsyncClient) -> None:
    response = await client.get("/v1/items/i1/image")
    assert response.status_code == 200
    assert response.headers["content-type"] == "image/png"
    assert response.content == PIXEL


async def test_no_picture_is_opened_as_a_document(client: httpx.AsyncClient) -> None:
    response = await client.get("/v1/items/i1/image")
    assert response.headers["content-disposition"] == "attachment"
    assert response.headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert response.headers["x-content-type-options"] == "nosniff"


def with_pictures(folder: Path, *paths: str | None) -> Catalogue:
    """A catalogue whose first items have given picture paths."""
    names = [f"images/i{row + 1}.png" for row in range(40)]
    strings = {"image_path": [*paths, *names[len(paths) :]]}
    bundle = write_served_bundle(folder, "pictures", strings_changed=strings)
    return Catalogue(bundle, folder / "raw")


def test_no_picture_path_leads_out_of_the_folder(tmp_path: Path, raw_dir: Path) -> None:
    secret = raw_dir.parent / "secret.png"
    (raw_dir / "link.png").symlink_to(secret)
    (raw_dir / "images" / "table.parquet").write_bytes(b"rows")
    catalogue = with_pictures(
        tmp_path,
        *("../secret.png", str(secret), "images/../../secret.png", "link.png", "images/table.parquet", "images", None),
    )
    for number in range(1, 8):
        with pytest.raises(NotFoundError, match=f"item 'i{number}'"):
            catalogue.picture(f"i{number}")
        assert catalogue.item(f"i{number}", NOW).image_url is None


def test_an_image_url_is_given_where_the_picture_is_served(tmp_path: Path, raw_dir: Path) -> None:
    (raw_dir / "images" / "page.png").write_text("<script>alert(1)</script>")
    (raw_dir / "images" / "drawing.svg").write_text("<svg/>")
    (raw_dir / "images" / "what?#.dat").write_bytes(PIXEL)
    paths = ("images/i1.png", "images/page.png", "images/drawing.svg", "images/what?#.dat", "a\x00b", "s3://shop/a.png")
    catalogue = with_pictures(tmp_path, *paths)
    served = []
    for number in range(1, len(paths) + 1):
        item_id = f"i{number}"
        assert catalogue.recommendation(1, number - 1, 0.5).image_url == catalogue.item(item_id, NOW).image_url
        if catalogue.item(item_id, NOW).image_url is not None:
            served.append(item_id)
            assert catalogue.picture(item_id)[1] == "image/png"
        else:
            with pytest.raises(NotFoundError, match=f"the picture of item '{item_id}' is not there"):
                catalogue.picture(item_id)
    assert served == ["i1", "i4"]


@pytest.mark.parametrize("path", ["/v1/items/../../secret.png", "/v1/items/%2e%2e%2fsecret.png/image"])
async def test_no_url_leads_out_of_the_folder(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.get(path)).status_code == 404


def test_a_bundle_that_moved_serves_pictures_from_where_it_is_told(bundle: Bundle, raw_dir: Path) -> None:
    assert Catalogue(bundle, raw_dir).picture("i1") == (raw_dir / "images" / "i1.png", "image/png")
    with pytest.raises(NotFoundError, match="the picture of item 'i1' is not there"):
        Catalogue(bundle).picture("i1")
