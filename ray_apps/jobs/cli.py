"""The command line that all jobs share: parse, build, run, and one clear line when the input is at fault."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from pydantic import BaseModel

from contracts.files import private_process
from ray_apps.console import EXIT_OK, EXIT_STOPPED, configure_logging, report_error
from ray_apps.jobs.config import JobConfig, load_job_config
from ray_apps.jobs.runner import execute
from ray_apps.jobs.workspace import Job, Workspace
from ray_apps.lock import JOBS_LOCK, folder_lock

OVERRIDES = """
settings are given as key=value and replace the config file's, for example
  python -m ray_apps.jobs.{name} --config configs/jobs/debug.yaml
  python -m ray_apps.jobs.{name} --config configs/jobs/demo.yaml raw_dir=DIR var_dir=DIR seed=7
"""


def main(job: Job, argv: Sequence[str] | None = None) -> int:
    """Runs one job from the command line; returns the exit status."""
    return run_command(job.name, describe(job), lambda workspace: execute(job, workspace), argv)


def run_command(name: str, description: str, run: Callable[[Workspace], object], argv: Sequence[str] | None) -> int:
    """Parses the arguments and calls `run` under the var folder's lock.

    Returns:
        0; 2 when the input is at fault, with one line on stderr; 130 after Ctrl-C; 1 with a traceback for the rest.
    """
    arguments = build_parser(name, description).parse_intermixed_args(argv)
    private_process()
    configure_logging()
    try:
        config = load_job_config(arguments.config, arguments.overrides)
        with folder_lock(config.var_dir / JOBS_LOCK, name):
            run(Workspace(config, force=arguments.force))
    except KeyboardInterrupt:
        print("stopped; what is finished will be reused")
        return EXIT_STOPPED
    except Exception as error:
        return report_error(error)
    return EXIT_OK


def build_parser(name: str, description: str) -> argparse.ArgumentParser:
    """The arguments of a job."""
    parser = argparse.ArgumentParser(
        prog=f"python -m ray_apps.jobs.{name}",
        description=description,
        epilog=OVERRIDES.format(name=name),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", type=Path, required=True, help="YAML file, for example configs/jobs/demo.yaml")
    parser.add_argument("--force", action="store_true", help="run again what is finished already")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings that replace the file's")
    return parser


def describe(job: Job) -> str:
    """Purpose, inputs, outputs and settings of a job."""
    inputs = ", ".join(source.name for source in job.inputs) or "nothing"
    lines = [job.purpose, "", f"reads the output of: {inputs}", "", "settings:"]
    for section in job.sections:
        lines += describe_section(section)
    return "\n".join(lines)


def describe_section(name: str) -> list[str]:
    """A line for each setting of a section of the job config."""
    field = JobConfig.model_fields[name]
    model = _model_of(field.annotation)
    return [f"  {name}: {field.description}"] if model is None else list(_settings(model, name))


def _model_of(annotation: object) -> type[BaseModel] | None:
    candidates = [annotation, *getattr(annotation, "__args__", ())]
    return next((item for item in candidates if isinstance(item, type) and issubclass(item, BaseModel)), None)


def _settings(model: type[BaseModel], prefix: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        inner = _model_of(field.annotation)
        if inner is not None:
            yield from _settings(inner, f"{prefix}.{name}")
        else:
            default = "required" if field.is_required() else field.get_default(call_default_factory=True)
            yield f"  {prefix}.{name} ({default}): {field.description}"
