"""Memory of replicas: private memory of each, and memory of a bundle that replicas of a machine share."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from benchmarks.common import Figure
from benchmarks.load import closed_loop
from benchmarks.shop import Shop
from benchmarks.systems import SERVE_FOLDER, placement, running
from ray_apps.cluster import OWNER

EMPTY: Final = "Empty"
"""Deployment whose replicas do nothing."""
_TITLE: Final = re.compile(r"ray::ServeReplica:[^:]*:(\w+)")
_CLIENTS: Final = 32
_KB: Final = 1_024


@dataclass(frozen=True)
class Replica:
    """One replica's process.

    Attributes:
        deployment: its name.
        pid: of the process.
    """

    deployment: str
    pid: int

    @property
    def private_mb(self) -> float:
        """Memory that is freed when this process ends."""
        lines = Path(f"/proc/{self.pid}/smaps_rollup").read_text(encoding="utf-8").splitlines()
        return sum(_kb(line) for line in lines if line.startswith("Private_")) * _KB / 1e6

    def mapped_pss_kb(self, folder: Path) -> int:
        """Proportional set size of mapped files of a folder."""
        return pss_below(Path(f"/proc/{self.pid}/smaps").read_text(encoding="utf-8").splitlines(), folder)


def memory_figures(shop: Shop, seconds: float) -> dict[str, Figure]:
    """Private memory above an empty replica after some load, and the share of two replicas' mappings."""
    private: dict[str, float] = {}
    mapped: dict[int, int] = {}
    for name, count in (("staged", 1), ("fused", 1), ("fused", 2)):
        system = placement(name, count, with_empty=name == "staged")
        with running(system, shop) as target:
            closed_loop(target, _CLIENTS, seconds)
            replicas = list(find_replicas(str(SERVE_FOLDER)))
            if count == 1:
                private |= {f"{name} {replica.deployment}": replica.private_mb for replica in replicas}
            if name == "fused":
                mapped[count] = sum(replica.mapped_pss_kb(shop.bundle.path) for replica in replicas)
    return private_figures(private) | {"mapped_pss_two_vs_one": Figure(mapped[2] / mapped[1], "times")}


def private_figures(private: dict[str, float]) -> dict[str, Figure]:
    """Private memory of the largest replica with and without torch, above the empty one, and of all replicas.

    Args:
        private: megabytes by placement and deployment.
    """
    above = {name: value - private[f"staged {EMPTY}"] for name, value in private.items() if EMPTY not in name}
    with_torch = {name for name in above if name.split()[1] in ("Retrieval", "Ranking") or name == "fused Gateway"}
    figures = {
        "replica_private_mb_without_torch": Figure(max(above[name] for name in above if name not in with_torch), "MB"),
        "replica_private_mb_with_torch": Figure(max(above[name] for name in with_torch), "MB"),
    }
    return figures | {
        f"replica_private_mb_{name.replace(' ', '_').lower()}": Figure(value, "MB") for name, value in above.items()
    }


def find_replicas(owner: str) -> Iterator[Replica]:
    """The replicas of the server that was started for a folder."""
    for process in psutil.process_iter():
        try:
            found = _TITLE.match(" ".join(process.cmdline()))
            if found is not None and process.environ().get(OWNER) == owner:
                yield Replica(found[1], process.pid)
        except psutil.Error:
            continue


def pss_below(smaps: Iterable[str], folder: Path) -> int:
    """Kilobytes of PSS of the mappings of files below a folder, from the lines of /proc/<pid>/smaps."""
    total, inside = 0, False
    for line in smaps:
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            parts = line.split(maxsplit=5)
            inside = len(parts) == 6 and Path(parts[5]).is_relative_to(folder)
        elif inside and line.startswith("Pss:"):
            total += _kb(line)
    return total


def _kb(line: str) -> int:
    return int(line.split()[1])
