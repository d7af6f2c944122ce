"""Reads and checks Serve config files; Serve itself ignores unknown keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, get_args

from pydantic import BaseModel, ValidationError
from ray.serve._private.constants import DEFAULT_MAX_ONGOING_REQUESTS
from ray.serve.schema import DeploymentSchema, ServeDeploySchema

from contracts.config import merge, read_values, validate
from contracts.errors import ConfigError
from contracts.secrets import refuse_secret_variables
from ray_apps.recommender import RecommenderArgs
from serving.config import SECRET_VARIABLES, ServingConfig
from serving.placing.config import QueueTimeConfig
from serving.placing.placement import CONSUMER, GATEWAY, find_placement
from serving.queue_time_policy import QueueTimePolicy

IMPORT_PATH: Final = "ray_apps.recommender:build_app"
POLICY: Final = f"{QueueTimePolicy.__module__}:{QueueTimePolicy.__name__}"


def read_serve_config(
    path: Path, *, args: Mapping[str, object] | None = None, port: int | None = None
) -> dict[str, Any]:
    """The values of a Serve config file, checked.

    Args:
        path: the YAML file.
        args: laid over the application's `args`, key by key.
        port: replaces the port.

    Raises:
        ConfigError: an unknown key, a value that is not legal, deployments that the placement does not have, or a
            secret in a `runtime_env`.
    """
    values: dict[str, Any] = read_values(path)
    if port is not None:
        values = merge(values, {"http_options": {"port": port}})
    applications = values.get("applications")
    for application in applications if isinstance(applications, list) else []:
        application["args"] = merge(application.get("args", {}), args or {})
    check_serve_config(values, source=str(path))
    return values


def check_serve_config(values: Mapping[str, object], *, source: str) -> ServeDeploySchema:
    """Checks the values of a Serve config file down to the last key.

    Raises:
        ConfigError: as above.
    """
    unknown = list(_unknown_keys(ServeDeploySchema, values, ""))
    if unknown:
        raise ConfigError(f"{source}: " + "; ".join(unknown))
    try:
        schema = ServeDeploySchema.model_validate(values)
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, entry['loc']))}: {entry['msg']}" for entry in error.errors()]
        raise ConfigError(f"{source}: " + "; ".join(lines)) from error
    for application in schema.applications:
        options = [deployment.ray_actor_options for deployment in application.deployments]
        shown = [getattr(one, "runtime_env", None) for one in options if one]
        for runtime_env in [application.runtime_env, *shown]:
            refuse_secret_variables(runtime_env, SECRET_VARIABLES, source=source)
        if application.import_path != IMPORT_PATH:
            raise ConfigError(f"{source}: import_path is {application.import_path!r}, expected {IMPORT_PATH!r}")
        arguments = validate(RecommenderArgs, application.args, source=f"{source}: args")
        if application.autoscaling_policy is not None:
            _check_policy(application.autoscaling_policy, arguments.service.budget_ms, source)
        _check_limits(application.deployments, arguments, source)
        expected = {GATEWAY, *find_placement(arguments.placement).deployments}
        expected |= {CONSUMER} if arguments.consumer.enabled else set()
        found = {deployment.name for deployment in application.deployments}
        if found != expected:
            raise ConfigError(
                f"{source}: deployments are {sorted(found)}, placement {arguments.placement!r} has {sorted(expected)}"
            )
    return schema


def _check_limits(deployments: Sequence[DeploymentSchema], arguments: ServingConfig, source: str) -> None:
    """The gateway refuses with 429 and Retry-After, so Serve's own limit must be higher."""
    service = arguments.service
    batchers = [service.batch, service.batch, arguments.interactions.batch]  # recommendations, rankings, events
    needed = service.refusals.max_held + sum(
        batch.max_queued + batch.max_running_batches * batch.max_batch_size for batch in batchers
    )
    for deployment in deployments:
        configured = deployment.max_ongoing_requests
        limit = configured if isinstance(configured, int) else DEFAULT_MAX_ONGOING_REQUESTS
        if deployment.name == GATEWAY and limit < needed:
            raise ConfigError(
                f"{source}: max_ongoing_requests={limit} of the {GATEWAY} is below {needed}, the requests that "
                "service and interactions let wait and run or hold back; raise the one or lower batch.max_queued"
            )


def _check_policy(policy: Mapping[str, object], budget_ms: float, source: str) -> None:
    if policy.get("policy_function") != POLICY:
        return
    given = policy.get("policy_kwargs", {})
    settings = given if isinstance(given, dict) else {}
    config = validate(QueueTimeConfig, settings, source=f"{source}: policy_kwargs of QueueTimePolicy")
    if config.target_ms >= budget_ms:
        raise ConfigError(
            f"{source}: target_ms={config.target_ms:g} of the autoscaling policy leaves nothing of "
            f"service.budget_ms={budget_ms:g}; lower the one or raise the other"
        )


def _unknown_keys(model: type[BaseModel], values: Mapping[str, object], where: str) -> list[str]:
    found = []
    for key, value in values.items():
        if key not in model.model_fields:
            found.append(f"unknown key {where + key!r}; legal keys: {', '.join(sorted(model.model_fields))}")
            continue
        inner = _model_of(model.model_fields[key].annotation)
        for number, entry in enumerate(value if isinstance(value, list) else [value]):
            if inner is not None and isinstance(entry, dict):
                place = f"{where}{key}[{number}]." if isinstance(value, list) else f"{where}{key}."
                found += _unknown_keys(inner, entry, place)
    return found


def _model_of(annotation: object) -> type[BaseModel] | None:
    """The model inside an annotation such as `Optional[list[Model]]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for part in get_args(annotation) if (model := _model_of(part)) is not None), None)
