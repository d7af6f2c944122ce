"""Arguments, the bundle that they name, and the Serve config files."""

from __future__ import annotations

import inspect
import shutil
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml

from contracts.config import validate
from contracts.errors import BundleError, ConfigError
from contracts.registry import Registry
from ray_apps.recommender import RecommenderArgs, build_app, find_bundle, with_shop
from ray_apps.serve_config import POLICY, check_serve_config, read_serve_config
from serving.config import SECRET_VARIABLES
from serving.placing.placement import CONSUMER, GATEWAY, PLACEMENTS
from tests.fixtures.served_bundle import VERSION, write_served_bundle

CONFIGS = sorted((Path(__file__).parents[3] / "configs" / "serving").glob("*.yaml"))


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_served_bundle(tmp_path_factory.mktemp("app")).path.parent


def test_serve_sees_a_real_class_as_the_annotation() -> None:
    (parameter,) = inspect.signature(build_app).parameters.values()
    assert parameter.annotation is RecommenderArgs


def test_the_bundle_is_named_by_version_by_path_or_by_the_registry(bundles: Path, tmp_path: Path) -> None:
    registry = tmp_path / "registry"
    shutil.copytree(bundles, registry)
    with pytest.raises(
        BundleError, match=r"nothing is in production in .*registry; run the publish job or set `bundle`"
    ):
        find_bundle(RecommenderArgs(registry=str(registry)))
    Registry.open(registry).promote(VERSION, "first")
    assert find_bundle(RecommenderArgs(registry=str(registry))) == registry / VERSION
    assert find_bundle(RecommenderArgs(registry=str(registry), bundle="other")) == registry / "other"
    assert find_bundle(RecommenderArgs(registry="elsewhere", bundle=str(bundles / VERSION))) == bundles / VERSION


def test_a_missing_bundle_is_refused_before_anything_starts(bundles: Path) -> None:
    with pytest.raises(BundleError, match=r"no manifest\.json in"):
        build_app(RecommenderArgs(registry=str(bundles), bundle="gone"))


def test_a_flipped_bit_is_found_before_any_replica_starts(bundles: Path, tmp_path: Path) -> None:
    shutil.copytree(bundles, tmp_path / "copy")
    weights = tmp_path / "copy" / VERSION / "ranker/weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(BundleError, match=r"'ranker/weights\.safetensors' does not match its checksum; it is damaged"):
        build_app(RecommenderArgs(registry=str(tmp_path / "copy"), bundle=VERSION))


def test_stores_follow_the_bundles_shop() -> None:
    assert with_shop(RecommenderArgs(), "tiny").stores.shop == "tiny"
    with pytest.raises(ConfigError, match=r"stores.shop is 'toys', the bundle is of 'tiny'; leave stores.shop out"):
        with_shop(validate(RecommenderArgs, {"stores": {"shop": "toys"}}, source="x"), "tiny")


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_the_application_has_the_deployments_of_its_placement(bundles: Path, placement: Any) -> None:
    app = build_app(RecommenderArgs(registry=str(bundles), bundle=VERSION, placement=placement))
    gateway = app._bound_deployment
    assert gateway.name == GATEWAY
    stages = gateway.init_args[3]
    assert {stage._bound_deployment.name for stage in stages.values()} == set(PLACEMENTS[placement].deployments)
    assert [beside._bound_deployment.name for beside in gateway.init_args[4]] == [CONSUMER]


def test_an_application_may_do_without_a_consumer(bundles: Path) -> None:
    values = {"registry": str(bundles), "bundle": VERSION, "consumer": {"enabled": False}}
    app = build_app(validate(RecommenderArgs, values, source="test"))
    assert app._bound_deployment.init_args[4] == []


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_config_file_is_legal(path: Path) -> None:
    values = read_serve_config(path)
    assert values["applications"][0]["args"]["placement"] in PLACEMENTS
    assert path.stem.startswith(values["applications"][0]["args"]["placement"])


def changed(**changes: Any) -> dict[str, Any]:
    values = yaml.safe_load(next(path for path in CONFIGS if path.stem == "fused").read_text())
    values["applications"][0] |= changes.pop("application", {})
    values["applications"][0]["deployments"][0] |= changes.pop("deployment", {})
    return values | changes


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (changed(applicatoins=[]), "unknown key 'applicatoins'; legal keys: applications, "),
        (changed(http_options={"prot": 1}), "unknown key 'http_options.prot'; legal keys: host, "),
        (changed(deployment={"num_replica": 2}), r"unknown key 'applications\[0\].deployments\[0\].num_replica'"),
        (changed(deployment={"ray_actor_options": {"cpus": 2}}), "deployments.0..ray_actor_options.cpus'"),
        (changed(deployment={"autoscaling_config": {"max": 2}}), "deployments.0..autoscaling_config.max'"),
        (changed(deployment={"max_ongoing_requests": "many"}), "max_ongoing_requests"),
        (
            changed(deployment={"max_ongoing_requests": 705}),
            "max_ongoing_requests=705 of the Gateway is below 706, the",
        ),
        (changed(application={"args": {"placment": "fused"}}), "args: unknown key 'placment'; legal keys: access, "),
        (
            changed(application={"args": {"service": {"budget": 5}}}),
            "unknown key 'service.budget'; legal keys: batch, ",
        ),
        (
            changed(application={"args": {"placement": "tiny"}}),
            "placement 'tiny' is not known; expected staged, tiered, fused, or module:ATTRIBUTE",
        ),
        (changed(application={"args": {"placement": "staged"}}), "placement 'staged' has .*'QueryFeatures'"),
        (
            changed(application={"autoscaling_policy": {"policy_function": POLICY, "policy_kwargs": {"target": 5}}}),
            "policy_kwargs of QueueTimePolicy: unknown key 'target'",
        ),
        (
            changed(
                application={"autoscaling_policy": {"policy_function": POLICY, "policy_kwargs": {"target_ms": 200}}}
            ),
            "target_ms=200 of the autoscaling policy leaves nothing of service.budget_ms=100; lower",
        ),
        (
            changed(application={"import_path": "a:b"}),
            "import_path is 'a:b', expected 'ray_apps.recommender:build_app'",
        ),
    ],
    ids=range(14),
)
def test_serve_config_files_are_refused_by_key(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"file.yaml: .*{message}"):
        check_serve_config(values, source="file.yaml")


def test_arguments_and_port_can_be_laid_over_a_file() -> None:
    values = read_serve_config(CONFIGS[0], args={"registry": "/elsewhere", "service": {"budget_ms": 50}}, port=8123)
    arguments = values["applications"][0]["args"]
    assert values["http_options"]["port"] == 8123
    assert values["http_options"]["host"] == "127.0.0.1"
    assert arguments["registry"] == "/elsewhere"
    assert arguments["service"]["budget_ms"] == 50
    assert arguments["placement"] == CONFIGS[0].stem


def test_the_references_scaling_differs_from_staged_in_two_values_only() -> None:
    staged, reference = (read_serve_config(CONFIGS[0].parent / name) for name in ("staged.yaml", "staged_200ms.yaml"))
    application = staged["applications"][0]
    application["args"]["service"]["budget_ms"] = 1000
    application["autoscaling_policy"]["policy_kwargs"]["target_ms"] = 200
    assert reference == staged


@pytest.mark.parametrize("variable", SECRET_VARIABLES)
@pytest.mark.parametrize("of", ["application", "deployment"])
def test_a_secret_in_a_runtime_env_is_refused_by_name(variable: str, of: str) -> None:
    values = yaml.safe_load(CONFIGS[0].read_text(encoding="utf-8"))
    [application] = values["applications"]
    place = application if of == "application" else application["deployments"][-1].setdefault("ray_actor_options", {})
    place["runtime_env"] = {"env_vars": {"SOMETHING": "else"}}
    check_serve_config(values, source="shop.yaml")
    place["runtime_env"]["env_vars"][variable] = "hunter2"
    with pytest.raises(
        ConfigError, match=rf"shop\.yaml sets {variable} in the env_vars of a runtime_env, .*"
    ) as caught:
        check_serve_config(values, source="shop.yaml")
    assert "hunter2" not in str(caught.value)


def test_the_application_refuses_a_secret_in_its_own_runtime_env(
    bundles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Context:
        runtime_env: ClassVar[dict[str, Any]] = {"env_vars": {"RECOMMENDER_STORES_PASSWORD": "hunter2"}}

    monkeypatch.setattr("ray.is_initialized", lambda: True)
    monkeypatch.setattr("ray.get_runtime_context", Context)
    with pytest.raises(ConfigError, match="the application sets RECOMMENDER_STORES_PASSWORD in the env_vars"):
        build_app(RecommenderArgs(registry=str(bundles), bundle=VERSION))
