"""The rules of the house, as tests."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from contracts.config import StrictConfig

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("recommender_api", "contracts", "training", "serving", "ray_apps", "recommender_client", "demo_page")
MAY_IMPORT = {
    "recommender_api": {"recommender_api"},
    "contracts": {"recommender_api", "contracts"},
    "training": {"recommender_api", "contracts", "training"},
    "serving": {"recommender_api", "contracts", "serving", "training.models"},
    "ray_apps": {"recommender_api", "contracts", "training", "serving", "ray_apps"},
    "recommender_client": {"recommender_api", "recommender_client"},
    "demo_page": {"recommender_client", "demo_page"},
}
HEAVY_IN_CONTRACTS = ("ray", "torch", "pyarrow", "pandas", "feast", "faiss")
MAX_MODULE_LINES = 300
MAX_FUNCTION_LINES = 50
MAX_FOLDER_MODULES = 12
FORBIDDEN_AT_IMPORT = {"basicConfig", "mkdir", "makedirs", "getenv", "init", "connect", "urlopen"}
LEGAL_RANDOM = {"default_rng", "Generator", "SeedSequence", "PCG64", "Philox"}

MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
ALL_CODE = MODULES + sorted((ROOT / "benchmarks").rglob("*.py")) + sorted((ROOT / "tests").rglob("*.py"))


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imports_of(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def module_level_calls(tree: ast.Module) -> Iterator[ast.Call]:
    for statement in tree.body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        if isinstance(statement, ast.If) and "__main__" in ast.unparse(statement.test):
            continue
        yield from (node for node in ast.walk(statement) if isinstance(node, ast.Call))


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_follow_the_arrow(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    for imported in imports_of(ast.parse(path.read_text())):
        if imported.split(".")[0] not in PACKAGES:
            continue
        legal = any(imported == base or imported.startswith(base + ".") for base in MAY_IMPORT[package])
        leads_there = any(base.startswith(imported + ".") for base in MAY_IMPORT[package])
        assert legal or leads_there, f"{name_of(path)} imports {imported}; {package} may import {MAY_IMPORT[package]}"


@cache
def imported_modules() -> dict[str, set[str]]:
    """The modules of ours that each module imports, also within functions."""
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in MODULES}
    graph = {}
    for name, path in names.items():
        found = set(imports_of(ast.parse(path.read_text()))) & set(names)
        # of `from package import module` the module counts, not the package's __init__
        graph[name] = {one for one in found if not any(other.startswith(f"{one}.") for other in found)} - {name}
    return graph


def test_modules_do_not_import_each_other_in_a_circle() -> None:
    TopologicalSorter(imported_modules()).prepare()


def test_rooms_of_the_gateway_do_not_import_each_other_in_a_circle() -> None:
    def room(module: str) -> str:
        return ".".join(module.split(".")[:3])

    rooms: dict[str, set[str]] = {}
    for module, imported in imported_modules().items():
        if module.startswith("serving.gateway."):
            others = {room(one) for one in imported if one.startswith("serving.gateway.")}
            rooms.setdefault(room(module), set()).update(others - {room(module)})
    TopologicalSorter(rooms).prepare()


@pytest.mark.parametrize("path", sorted((ROOT / "serving").rglob("*.py")), ids=name_of)
def test_settings_of_serving_stand_in_the_config_of_their_package(path: Path) -> None:
    classes = re.findall(r"^class (\w+Config)\(", path.read_text(), re.MULTILINE)
    assert not classes or path.name == "config.py", f"{name_of(path)} defines {classes}: move them to config.py"


@pytest.mark.parametrize("path", sorted((ROOT / "contracts").rglob("*.py")), ids=name_of)
def test_contracts_import_nothing_heavy(path: Path) -> None:
    for imported in imports_of(ast.parse(path.read_text())):
        assert imported.split(".")[0] not in HEAVY_IN_CONTRACTS, f"{name_of(path)} imports {imported}"


PIPELINE_AND_STAGES = [ROOT / "serving" / "pipeline.py", *sorted((ROOT / "serving" / "stages").rglob("*.py"))]


@pytest.mark.parametrize("path", PIPELINE_AND_STAGES, ids=name_of)
def test_stages_do_not_know_the_stores(path: Path) -> None:
    imported = {name for name in imports_of(ast.parse(path.read_text())) if name.startswith("serving.stores")}
    assert not imported, f"{name_of(path)} imports {sorted(imported)}: let it take a protocol"


@pytest.mark.parametrize("path", sorted((ROOT / "recommender_api").rglob("*.py")), ids=name_of)
def test_the_api_needs_msgspec_and_nothing_else(path: Path) -> None:
    allowed = {*sys.stdlib_module_names, "msgspec", "recommender_api"}
    assert {imported.split(".")[0] for imported in imports_of(ast.parse(path.read_text()))} <= allowed


@pytest.mark.parametrize("path", ALL_CODE, ids=name_of)
def test_modules_and_functions_are_short(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= MAX_MODULE_LINES, f"{name_of(path)}: is there a room missing?"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= MAX_FUNCTION_LINES, f"{name_of(path)}:{node.lineno} {node.name} has {length} lines"


def test_the_pipeline_is_read_from_top_to_bottom() -> None:
    text = (ROOT / "serving" / "pipeline.py").read_text()
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    inside = [node for one in functions for node in ast.walk(one) if node is not one]
    hidden = [node for node in inside if isinstance(node, ast.Lambda | ast.FunctionDef | ast.AsyncFunctionDef)]
    assert not hidden, f"line {hidden[0].lineno}: a function in a function hides the order of the stages"
    assert "type: ignore" not in text
    assert "Any" not in text


FLAT_FOLDERS = {
    "benchmarks": "programs, called by name: `python -m benchmarks.serving`",
    "contracts": "one agreement a module, imported from everywhere by its name",
    "ray_apps/jobs": "programs, called by name: `python -m ray_apps.jobs.materialize`",
    "serving/stages": "one stage or part of a stage a module; docs/architecture.md lists them",
    "serving/stores": "Feast's rows, Redis's keys and what fills them share one layout of what is online",
    "training": "what its rooms share: splits, losses, negatives, the bundle and the index",
    "training/evaluation": "one chain from the test day to the report's page",
    "training/features": "one chain from raw tables to processed events",
    "training/simulator": "one model of a shop: each module is a factor of it, and all of them make the truth",
    "tests/fixtures": "what tests of several rooms need",
    "tests/integration": "one story of a running server a module",
    "tests/parity": "one pair of implementations that must agree a module",
}
"""Folders that stay flat with more than `MAX_FOLDER_MODULES` modules, and why; their unit tests do, too."""


def num_modules(folder: Path) -> int:
    return sum(path.name != "__init__.py" for path in folder.glob("*.py"))


@pytest.mark.parametrize("folder", sorted({path.parent for path in ALL_CODE}), ids=name_of)
def test_large_folders_have_rooms(folder: Path) -> None:
    is_large, name = num_modules(folder) > MAX_FOLDER_MODULES, name_of(folder)
    may_be = name in FLAT_FOLDERS or name.removeprefix("tests/unit/") in FLAT_FOLDERS
    assert may_be or not is_large, f"{name} has {num_modules(folder)} modules: divide it into rooms, or say why not"


@pytest.mark.parametrize("name", FLAT_FOLDERS)
def test_exceptions_to_rooms_are_needed(name: str) -> None:
    assert num_modules(ROOT / name) > MAX_FOLDER_MODULES, f"{name} needs no exception any more"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_nothing_happens_at_import(path: Path) -> None:
    tree = ast.parse(path.read_text())
    for call in module_level_calls(tree):
        called = ast.unparse(call.func).split(".")[-1]
        assert called not in FORBIDDEN_AT_IMPORT, f"{name_of(path)}:{call.lineno} calls {called} at import"
    for statement in tree.body:
        if not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.If):
            assert "os.environ" not in ast.unparse(statement), f"{name_of(path)}: environment read at import"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_randomness_is_passed_in(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in {"np.random", "numpy.random"}:
            assert node.attr in LEGAL_RANDOM, f"{name_of(path)}:{node.lineno} uses the global np.random.{node.attr}"


def all_config_classes() -> list[type[StrictConfig]]:
    for package in PACKAGES:
        for module in pkgutil.walk_packages([str(ROOT / package)], prefix=package + "."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)

    def below(cls: type[StrictConfig]) -> Iterator[type[StrictConfig]]:
        for child in cls.__subclasses__():
            yield child
            yield from below(child)

    return [cls for cls in below(StrictConfig) if cls.__module__.split(".")[0] in PACKAGES]


def test_every_setting_is_documented() -> None:
    classes = all_config_classes()
    assert classes
    missing = [
        f"{cls.__qualname__}.{name}"
        for cls in classes
        for name, field in cls.model_fields.items()
        if not (field.description or "").strip()
    ]
    assert not missing, f"settings without a line of documentation: {missing}"


DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def commands_of(document: Path) -> Iterator[str]:
    for block in re.findall(r"```(?:bash|sh|console)\n(.*?)```", document.read_text(), flags=re.DOTALL):
        yield from (line.strip() for line in block.splitlines() if line.strip() and not line.startswith("#"))


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_commands_in_documents_exist(document: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    for command in commands_of(document):
        for target in re.findall(r"\bmake ((?:[a-z-]+ ?)+)", command):
            assert set(target.split()) <= targets, f"{name_of(document)}: {command}"
        for module in re.findall(r"python -m ([\w.]+)", command):
            path = ROOT / (module.replace(".", "/"))
            known = path.with_suffix(".py").exists() or (path / "__main__.py").exists() or module in {"venv", "pytest"}
            assert known, f"{name_of(document)}: no module {module} for {command!r}"
        for path in re.findall(r"\bconfigs/[\w./-]+", command):
            assert (ROOT / path).exists(), f"{name_of(document)}: no {path} for {command!r}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", document.read_text()):
        assert (document.parent / target).exists(), f"{name_of(document)} links to {target}"


def test_the_stage_table_is_fresh() -> None:
    generate = importlib.import_module("docs.generate")
    assert generate.rendered() == generate.ARCHITECTURE.read_text(), "docs/architecture.md is stale: run `make docs`"


def test_all_fourteen_models_of_the_reference_are_documented() -> None:
    generate = importlib.import_module("docs.generate")
    models = generate.models()
    assert [model.number for model in models] == [
        "0",
        "1a",
        "1b",
        "1c",
        "2",
        "3",
        "4",
        "5a",
        "5b",
        "5c",
        *("6a", "6b", "6c", "7"),
    ]
    for model in models:
        assert set(model.facts) == set(generate.FACTS), f"{model.number} {model.name} lacks a fact"
