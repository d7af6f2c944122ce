from __future__ import annotations

import subprocess
import sys

LIGHT = ("config", "keys", "client", "embedded", "recent", "seen", "meta", "user_features", "table_values")


def loaded(code: str) -> set[str]:
    run = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"], capture_output=True, text=True, check=True
    )
    return set(run.stdout.split())


def test_stores_load_neither_feast_nor_torch_nor_ray() -> None:
    modules = loaded("import " + ", ".join(f"serving.stores.{name}" for name in LIGHT))
    assert modules.isdisjoint({"feast", "torch", "ray", "pandas"})


def test_feast_comes_without_torch_and_does_not_block_it_later() -> None:
    modules = loaded("import serving.stores.materialize")
    assert "feast" in modules
    assert "torch" not in modules  # a blocked module would have an entry too
