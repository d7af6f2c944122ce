"""The production pointer: atomic changes, honest history, the same in a folder and in S3."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from contracts.errors import RegistryError
from contracts.registry import REGISTRY_FILE, Registry
from tests.fixtures.tiny_bundle import tiny_parts
from training.bundle_parts import write_parts

BUCKET = "shop-bundles"


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("registry")
    parts = tiny_parts(folder / "inputs")
    for version in ("v1", "v2", "v3"):
        write_parts(parts, folder / "bundles", version)
    return folder / "bundles"


@pytest.fixture(scope="module")
def s3(bundles: Path) -> Iterator[Any]:
    boto3 = pytest.importorskip("boto3")
    moto = pytest.importorskip("moto")
    with pytest.MonkeyPatch.context() as patch, moto.mock_aws():
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        client = boto3.client("s3")
        client.create_bucket(Bucket=BUCKET)
        for path in bundles.rglob("*"):
            if path.is_file():
                client.put_object(Bucket=BUCKET, Key=f"prefix/{path.relative_to(bundles)}", Body=path.read_bytes())
        yield client


@pytest.fixture(params=["folder", "s3"])
def uri(request: pytest.FixtureRequest, bundles: Path, tmp_path: Path) -> str:
    if request.param == "folder":
        shutil.copytree(bundles, tmp_path / "bundles")
        return str(tmp_path / "bundles")
    request.getfixturevalue("s3").delete_object(Bucket=BUCKET, Key=f"prefix/{REGISTRY_FILE}")
    return f"s3://{BUCKET}/prefix"


def test_a_new_registry_has_no_production(uri: str) -> None:
    registry = Registry.open(uri)
    assert registry.production() is None
    assert registry.history() == ()


def test_promote_and_roll_back_leave_a_history(uri: str) -> None:
    registry = Registry.open(uri)
    registry.promote("v1", "first")
    registry.promote("v2", "better")
    assert registry.production() == "v2"
    registry.rollback("worse after all")
    assert Registry.open(uri).production() == "v1"
    facts = [(entry.action, entry.version, entry.previous, entry.reason) for entry in registry.history()]
    assert facts == [
        ("promote", "v1", None, "first"),
        ("promote", "v2", "v1", "better"),
        ("rollback", "v1", "v2", "worse after all"),
    ]
    assert all(entry.when.endswith("+00:00") for entry in registry.history())


def test_a_version_that_was_promoted_twice_is_left_at_once(uri: str) -> None:
    registry = Registry.open(uri)
    for version in ("v1", "v2", "v2"):
        registry.promote(version, "again")
    assert [entry.version for entry in registry.history()] == ["v1", "v2", "v2"]
    assert registry.rollback("worse").version == "v1"
    with pytest.raises(RegistryError, match="nothing to roll back to from 'v1'"):
        registry.rollback("still worse")
    for version in ("v2", "v1"):
        registry.promote(version, "to and fro")
    assert [registry.rollback("back").version for _ in range(2)] == ["v2", "v1"]


def entry(action: str, version: str, previous: str | None) -> dict[str, Any]:
    return {"action": action, "version": version, "previous": previous, "when": "2026-01-01", "reason": "r"}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (json.dumps({"production": "v1", "history": []}), "'v1' is in production, the history leads to None"),
        (json.dumps({"history": [entry("rollback", "v1", None)]}), "which was not promoted before"),
        (json.dumps({"history": [entry("promote", "v1", "v0")]}), r"history\[0\] follows 'v0', but None was"),
        *(
            (
                json.dumps({"production": name, "history": [entry("promote", name, None)]}),
                r"history\[0\]: .* is not the",
            )
            for name in ("../v1", "/srv/v1", "", "..", "v1/../../v1", "v\x001")
        ),
        (json.dumps({"production": "v1", "history": [entry("remove", "v1", None)]}), r"history\.0\.action: Input"),
        (json.dumps({"history": {"0": entry("promote", "v1", None)}}), "history: Input"),
        (json.dumps({"production": None, "other": 1}), "other: Extra"),
        ('{"production": 1e999}', "1e999 is not a finite number"),
        ('{"production": "\\ud800"}', "is in production, the history leads to None"),
        ("null", "Input should be"),
        (json.dumps({"production": 1}), "production: Input should be a valid string"),
        ("[" * 100_000, "it is nested too deep"),
        ('{"production": ' + "1" * 5_000 + "}", "Exceeds the limit"),
        ('{"production": null, "production": null}', "the key 'production' is there twice"),
        ("", "Expecting value"),
    ],
)
def test_a_broken_history_is_an_error_by_name(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / REGISTRY_FILE).write_text(content)
    for ask in (Registry.production, Registry.history, lambda one: one.promote("v1", ""), lambda one: one.rollback("")):
        with pytest.raises(RegistryError, match=says):
            ask(Registry.open(tmp_path))


def test_a_change_is_on_the_disk_before_it_is_told(bundles: Path, tmp_path: Path) -> None:
    shutil.copytree(bundles, tmp_path / "bundles")
    synced: list[str] = []

    def sync(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", sync)
        Registry.open(tmp_path / "bundles").promote("v1", "first")
    folder = str(tmp_path / "bundles")
    assert [path for path in synced if path.startswith(f"{folder}/.{REGISTRY_FILE}")]
    assert folder in synced


@pytest.mark.parametrize("version", ["", ".", "..", "a/b", "../bundles/v1", "a\x00", "a\\b", "\ud800", "a" * 256])
def test_names_that_lead_elsewhere_are_no_bundles(uri: str, version: str) -> None:
    with pytest.raises(RegistryError, match="is not the name of a bundle"):
        Registry.open(uri).promote(version, "first")


def test_two_rollbacks_go_two_promotions_back(uri: str) -> None:
    registry = Registry.open(uri)
    for version in ("v1", "v2", "v3"):
        registry.promote(version, "daily")
    registry.rollback("once")
    registry.rollback("twice")
    assert registry.production() == "v1"
    with pytest.raises(RegistryError, match="nothing to roll back to from 'v1'; promote a version instead"):
        registry.rollback("thrice")


def test_an_unknown_version_is_refused_by_name(uri: str) -> None:
    registry = Registry.open(uri)
    with pytest.raises(RegistryError, match=r"cannot make 'v9' production: no manifest.json"):
        registry.promote("v9", "typo")
    assert registry.production() is None


def test_a_damaged_version_is_refused_by_name(uri: str, request: pytest.FixtureRequest) -> None:
    name = "v3/values/price.npy"
    if uri.startswith("s3://"):
        client = request.getfixturevalue("s3")
        whole = client.get_object(Bucket=BUCKET, Key=f"prefix/{name}")["Body"].read()
        client.put_object(Bucket=BUCKET, Key=f"prefix/{name}", Body=whole[:-1])
    else:
        path = Path(uri) / name
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(RegistryError, match=r"cannot make 'v3' production: .*'values/price.npy' has"):
        Registry.open(uri).promote("v3", "hurry")
    if uri.startswith("s3://"):
        client.put_object(Bucket=BUCKET, Key=f"prefix/{name}", Body=whole)


def test_a_change_on_a_stale_reading_loses(uri: str) -> None:
    Registry.open(uri).promote("v1", "first")
    slow, fast = Registry.open(uri), Registry.open(uri)
    check = slow._backend.check

    def check_while_another_promotes(version: str) -> None:
        check(version)
        fast.promote("v2", "fast")

    slow._backend.check = check_while_another_promotes  # type: ignore[method-assign]
    with pytest.raises(RegistryError, match="was changed by somebody else during this promote; look again and retry"):
        slow.promote("v3", "slow")
    assert [entry.version for entry in fast.history()] == ["v1", "v2"]


def test_of_two_first_promotions_one_wins(uri: str) -> None:
    slow, fast = Registry.open(uri), Registry.open(uri)
    slow._backend.check = lambda version: fast.promote("v2", "fast") and None  # type: ignore[method-assign]
    with pytest.raises(RegistryError, match="was changed by somebody else"):
        slow.promote("v1", "slow")
    assert fast.production() == "v2"


def test_of_many_threads_every_winner_is_in_the_history(bundles: Path, tmp_path: Path) -> None:
    shutil.copytree(bundles, tmp_path / "bundles")
    start = threading.Barrier(6)
    outcomes: list[str] = []

    def promote(number: int) -> None:
        registry = Registry.open(tmp_path / "bundles")
        start.wait()
        try:
            registry.promote("v1", f"thread {number}")
            outcomes.append(f"thread {number}")
        except RegistryError:
            outcomes.append("lost")

    threads = [threading.Thread(target=promote, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = sorted(outcome for outcome in outcomes if outcome != "lost")
    assert winners == sorted(entry.reason for entry in Registry.open(tmp_path / "bundles").history())
    assert winners


def test_a_version_cannot_lead_out_of_the_folder(bundles: Path) -> None:
    with pytest.raises(RegistryError, match=r"'\.\./v1' is not the name of a bundle"):
        Registry.open(bundles / "v2").promote("../v1", "clever")


def test_a_document_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / REGISTRY_FILE).write_text('{"production": 3, "owner": "me"}')
    with pytest.raises(RegistryError, match=r"registry.json in .* is not a registry's document"):
        Registry.open(tmp_path).production()


@pytest.mark.parametrize("uri", ["http://host/bundles", "gs://bucket"])
def test_an_address_of_another_kind_is_refused(uri: str) -> None:
    with pytest.raises(RegistryError, match="is neither a folder nor s3://bucket/prefix"):
        Registry.open(uri)


def test_an_s3_address_needs_a_bucket() -> None:
    with pytest.raises(RegistryError, match="names no bucket; expected s3://bucket/prefix"):
        Registry.open("s3://")


def test_a_missing_bucket_is_an_error_of_the_registry(s3: Any) -> None:
    with pytest.raises(RegistryError, match=r"s3://elsewhere/registry.json cannot be read"):
        Registry.open("s3://elsewhere").production()
