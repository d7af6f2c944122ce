"""The outputs of all jobs and whether they are finished: `var/`, keyed by fingerprints.

A job's fingerprint covers its name and schema version, its config sections and the identities of its inputs. A
finished job leaves a record, `jobs/<job>/<fingerprint>.json`, written after its output folder has been renamed
into place; only then is the output used. A run that was killed leaves no record and is done again.

    var/  raw/ processed/ embeddings/ two_tower/ ranker/   <fingerprint>/ each
          bundles/<version>/  bundles/registry.json  reports/<version>/   what serving and people read
          cache/  scratch/  jobs/  jobs.lock                 raw vectors, checkpoints, records, the lock
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from stat import S_ISREG
from typing import Any

from contracts.clock import Clock, SystemClock
from contracts.config import StrictConfig
from contracts.errors import DataError
from contracts.files import private_folder, write_atomic
from ray_apps.jobs.config import JobConfig
from serving.gateway.access.audit import AUDIT_FILE


def fingerprint_folder(folder: str) -> Callable[[Workspace, str], str]:
    """The usual place of an output: a folder named by the fingerprint, the same for every repetition."""
    return lambda _workspace, identity: f"{folder}/{identity.partition('-')[0]}"


@dataclass(frozen=True)
class Job:
    """One job: what it reads, what it writes and the function that does it.

    Attributes:
        name: module name in `ray_apps.jobs`.
        purpose: one sentence for people.
        sections: config sections, or settings `section.key`, that its output depends on.
        inputs: jobs whose outputs it reads.
        run: writes the output folder that it is given and returns a line about the result.
        place: path of the output below `var/` for an identity; None for a job that changes a registry or store,
            keeps no record and decides itself whether there is something to do.
        uses_ray: whether it needs a Ray cluster.
        applies: whether the config asks for it; otherwise it is not run, and no input of others.
        files: further files that it reads, or will read once a day is over; they are part of the fingerprint.
        schema_version: raised when the layout or meaning of the output changes.
    """

    name: str
    purpose: str
    sections: tuple[str, ...]
    inputs: tuple[Job, ...]
    run: Callable[[Workspace, Path], str]
    place: Callable[[Workspace, str], str] | None = None
    uses_ray: bool = False
    applies: Callable[[JobConfig], bool] = lambda _config: True
    files: Callable[[Workspace], Sequence[Path]] = lambda _workspace: ()
    schema_version: int = 1


class Record(StrictConfig):
    """What a job leaves when it is finished."""

    job: str
    """Name of the job."""
    fingerprint: str
    """Of its config and inputs."""
    attempt: int = 0
    """Counts forced repetitions, so that later jobs run again after one."""
    finished: bool = False
    """False while a forced repetition runs."""
    output: str
    """The folder that it wrote, relative to the var folder where it lies inside."""
    seconds: float = 0.0
    """Wall time."""
    summary: str = ""
    """The result, in a line."""

    @property
    def identity(self) -> str:
        """Identifies the output: later jobs run again when it changes."""
        return f"{self.fingerprint}-{self.attempt}"


class Workspace:
    """The var folder of one job config.

    Args:
        config: the job config.
        force: whether finished jobs run again.
        clock: gives the present time; None means the machine's clock.
    """

    def __init__(self, config: JobConfig, *, force: bool = False, clock: Clock | None = None) -> None:
        self.config = config
        self.force = force
        self.clock = clock or SystemClock()
        self.root = config.var_dir.resolve()
        self._files: dict[str, list[str]] = {}

    @property
    def bundles(self) -> Path:
        """Folder of all bundles and of the registry that says which is in production."""
        return self.root / "bundles"

    @property
    def audit_file(self) -> Path:
        """JSON lines of promotions and roll-backs."""
        return self.config.audit_file or self.root / AUDIT_FILE

    def cache(self, name: str) -> Path:
        """A folder shared by all runs."""
        return self.root / "cache" / name

    def scratch(self, job: Job) -> Path:
        """A folder for checkpoints: survives a kill, removed when the job is finished."""
        return self.root / "scratch" / job.name / self.fingerprint(job)

    def fingerprint(self, job: Job) -> str:
        """Digest of everything that determines the job's output, 16 hex digits."""
        values = {
            "job": job.name,
            "schema_version": job.schema_version,
            "config": self.config.model_dump(mode="json", include=_included(("shop", *job.sections))),
            "inputs": [self.identity(source) for source in job.inputs if source.applies(self.config)],
            "files": self._files_of(job),
        }
        return digest(values)

    def identity(self, job: Job) -> str:
        """Identity of a job's finished output."""
        return self._given_identity if self.is_given(job) else self.require(job).identity

    def output(self, job: Job) -> Path:
        """The finished output folder of a job."""
        return self._given() if self.is_given(job) else self.root / self.require(job).output

    def is_given(self, job: Job) -> bool:
        """Whether the job has nothing to do because the config names raw tables: they are used as they are."""
        return job.name == "simulate" and self.config.raw_dir is not None

    def require(self, job: Job) -> Record:
        """The record of a finished job.

        Raises:
            DataError: it has not been run with this config; names the command.
        """
        record = self.finished(job)
        if record is None:
            raise DataError(
                f"no finished output of {job.name!r} for this config in {self.root}; "
                f"run `python -m ray_apps.jobs.{job.name}` with the same --config and overrides first"
            )
        return record

    def finished(self, job: Job) -> Record | None:
        """The record of a job whose output exists where it would be written, or None."""
        assert job.place is not None
        record = self._read(job)
        if record is None or not record.finished or record.output != job.place(self, record.identity):
            return None
        return record if (self.root / record.output).exists() else None

    def begin(self, job: Job) -> Record:
        """Prepares a run: returns its record, with the output folder, and removes leftovers of killed runs."""
        assert job.place is not None
        old = self._read(job)
        fingerprint = self.fingerprint(job)
        attempt = 0 if old is None else old.attempt + int(self.force and old.finished)
        output = job.place(self, f"{fingerprint}-{attempt}")
        record = Record(job=job.name, fingerprint=fingerprint, attempt=attempt, output=output)
        if self.force:
            shutil.rmtree(self.scratch(job), ignore_errors=True)
            self._write(record)
        target = self.root / output
        private_folder(target.parent)
        for leftover in target.parent.glob(f".{target.name}.*"):
            shutil.rmtree(leftover, ignore_errors=True)
        return record

    def finish(self, job: Job, record: Record, *, seconds: float, summary: str) -> None:
        """Marks the job's output as finished; removes older records of the same folder."""
        for path in (self.root / "jobs" / job.name).glob("*.json"):
            other = Record.model_validate_json(path.read_text(encoding="utf-8"))
            if other.output == record.output:
                path.unlink()
        self._write(record.model_copy(update={"finished": True, "seconds": round(seconds, 3), "summary": summary}))
        shutil.rmtree(self.scratch(job), ignore_errors=True)

    def _given(self) -> Path:
        assert self.config.raw_dir is not None
        return self.config.raw_dir.resolve()

    def _files_of(self, job: Job) -> list[str]:
        """Cached: files that a server adds meanwhile are for the next run."""
        if job.name not in self._files:
            self._files[job.name] = [files_identity(path) for path in job.files(self)]
        return self._files[job.name]

    @cached_property
    def _given_identity(self) -> str:
        return given_tables_identity(self._given())

    def _read(self, job: Job) -> Record | None:
        path = self.root / "jobs" / job.name / f"{self.fingerprint(job)}.json"
        return Record.model_validate_json(path.read_text(encoding="utf-8")) if path.is_file() else None

    def _write(self, record: Record) -> None:
        path = self.root / "jobs" / record.job / f"{record.fingerprint}.json"
        write_atomic(path, record.model_dump_json(indent=2))


def _included(names: Sequence[str]) -> dict[str, Any]:
    """Sections, whole or by key, as pydantic selects them."""
    included: dict[str, Any] = {}
    for name in names:
        section, _, key = name.partition(".")
        included[section] = {*included.get(section, ()), key} if key else True
    return included


def given_tables_identity(raw_dir: Path) -> str:
    """Digest of the names, sizes and modification times of all files below a folder of raw tables.

    Raises:
        DataError: the folder holds no interactions.
    """
    if not (raw_dir / "interactions").is_dir():
        raise DataError(
            f"raw_dir {raw_dir} has no folder interactions/; expected users/, items/ and interactions/day=YYYY-MM-DD/. "
            "Leave raw_dir out to simulate a shop, or fill the folder with `python -m ray_apps.jobs.simulate`"
        )
    return files_identity(raw_dir)


def files_identity(path: Path) -> str:
    """Digest of the names, sizes and modification times of a file or of all files below a folder.

    Hidden files, which are not finished yet, and files that are removed meanwhile do not count.

    Raises:
        DataError: there is nothing at the path.
    """
    if not path.exists():
        raise DataError(f"no file or folder {path}; correct the path in the config")
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return digest([values for file in files if (values := _file_values(file, file.relative_to(path))) is not None])


def _file_values(file: Path, name: Path) -> tuple[str, int, int] | None:
    if any(part.startswith(".") for part in name.parts):
        return None
    try:
        stat = file.stat()
    except FileNotFoundError:
        return None
    return (str(name), stat.st_size, stat.st_mtime_ns) if S_ISREG(stat.st_mode) else None


def digest(values: object) -> str:
    """Digest of JSON values, 16 hex digits."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]
