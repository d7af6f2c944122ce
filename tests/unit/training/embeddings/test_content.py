from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from contracts.errors import DataError
from training.embeddings.content import fetch_weights, hash_path, read_content

BUCKET = "shop-weights"


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        client = boto3.client("s3")
        client.create_bucket(Bucket=BUCKET)
        yield client


def test_relative_paths_start_at_the_base(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(b"picture")
    assert read_content("images/a.png", tmp_path, 99) == b"picture"
    assert read_content(str(tmp_path / "images" / "a.png"), Path("/elsewhere"), 99) == b"picture"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"images/b.png' cannot be read: No such file or directory"):
        read_content("images/b.png", tmp_path, 99)


def test_pictures_may_be_s3_objects(s3: Any, tmp_path: Path) -> None:
    s3.put_object(Bucket=BUCKET, Key="pictures/a.png", Body=b"picture")
    assert read_content(f"s3://{BUCKET}/pictures/a.png", tmp_path, 99) == b"picture"
    s3.put_object(Bucket=BUCKET, Key="what?#1.png", Body=bytes(100))
    with pytest.raises(DataError, match=r"what\?#1.png has 100 bytes, expected at most 99"):
        read_content(f"s3://{BUCKET}/what?#1.png", tmp_path, 99)
    with pytest.raises(DataError, match=rf"s3://{BUCKET}/pictures/b.png cannot be read: .*NoSuchKey"):
        read_content(f"s3://{BUCKET}/pictures/b.png", tmp_path, 99)


def test_a_prefix_becomes_a_folder_once(s3: Any, tmp_path: Path) -> None:
    for name in ("config.json", "1_Pooling/config.json"):
        s3.put_object(Bucket=BUCKET, Key=f"minilm/{name}", Body=name.encode())
    s3.put_object(Bucket=BUCKET, Key="minilm-large/config.json", Body=b"another model")
    folder = fetch_weights(f"s3://{BUCKET}/minilm/", tmp_path)
    files = {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}
    assert files == {"config.json": "config.json", "1_Pooling/config.json": "1_Pooling/config.json"}
    s3.delete_object(Bucket=BUCKET, Key="minilm/config.json")
    assert fetch_weights(f"s3://{BUCKET}/minilm/", tmp_path) == folder


def test_an_object_becomes_a_file(s3: Any, tmp_path: Path) -> None:
    s3.put_object(Bucket=BUCKET, Key="clip/vit.safetensors", Body=b"weights")
    file = fetch_weights(f"s3://{BUCKET}/clip/vit.safetensors", tmp_path)
    assert (file.name, file.read_bytes()) == ("vit.safetensors", b"weights")


def test_nothing_at_a_prefix(s3: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"nothing at s3://{BUCKET}/none; expected the weights of an encoder"):
        fetch_weights(f"s3://{BUCKET}/none", tmp_path)
    with pytest.raises(DataError, match=r"s3://no-such-bucket/model cannot be listed: .*NoSuchBucket"):
        fetch_weights("s3://no-such-bucket/model", tmp_path)
    assert list(tmp_path.rglob("*")) == []


def test_local_weights_stay_where_they_are(tmp_path: Path) -> None:
    assert fetch_weights("/models/minilm", tmp_path) == Path("/models/minilm")


def test_hashes_tell_names_and_contents(tmp_path: Path) -> None:
    hashes = []
    for name, content in (("a", b"1"), ("a", b"2"), ("b", b"2")):
        folder = tmp_path / str(len(hashes))
        folder.mkdir()
        (folder / name).write_bytes(content)
        hashes.append(hash_path(folder))
    assert len(set(hashes)) == 3
    assert hash_path(tmp_path / "0" / "a") != hash_path(tmp_path / "1" / "a")
