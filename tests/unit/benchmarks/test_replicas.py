from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.items import comparison
from benchmarks.replicas import private_figures, pss_below

SMAPS = """7f0000000000-7f0000010000 r--s 00000000 fe:00 11   /shop/bundles/v1/items/text.npy
Size:                 64 kB
Pss:                  40 kB
Pss_Dirty:             7 kB
7f0000020000-7f0000030000 r--s 00000000 fe:00 12   /shop/bundles/v10/items/text.npy
Pss:                 100 kB
7f0000040000-7f0000050000 rw-p 00000000 00:00 0
Pss:                1000 kB
7f0000060000-7f0000070000 r--s 00000000 fe:00 13   /shop/bundles/v1/ranker/encoded id.npy
Pss:                   2 kB
"""


def test_pss_is_summed_over_the_files_of_one_folder() -> None:
    assert pss_below(SMAPS.splitlines(), Path("/shop/bundles/v1")) == 42


def test_private_memory_is_told_above_an_empty_replica() -> None:
    private = {
        "staged Empty": 100.0,
        "staged Gateway": 180.0,
        "staged QueryFeatures": 230.0,
        "staged Retrieval": 600.0,
        "staged Ranking": 650.0,
        "fused Gateway": 800.0,
    }

    figures = private_figures(private)

    assert figures["replica_private_mb_without_torch"].value == 130
    assert figures["replica_private_mb_with_torch"].value == 700
    assert figures["replica_private_mb_staged_gateway"].value == 80
    assert "replica_private_mb_staged_empty" not in figures


def test_items_in_memory_are_compared_in_percent() -> None:
    figures = comparison({"lookup": 0.5, "latency": 46.0, "rps": 410.0}, {"lookup": 200.0, "latency": 100, "rps": 100})

    assert figures["feast_items_vs_memory_lookup"].value == pytest.approx(-99.75)
    assert figures["feast_items_vs_memory_latency"].value == pytest.approx(-54)
    assert figures["feast_items_vs_memory_rps"].value == pytest.approx(310)
