"""Writes the generated parts of the documents: `make docs`; with `--check` it only checks whether they are stale."""

from __future__ import annotations

import argparse
import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from contracts.presets import SHOP
from contracts.schema import SideLayout
from recommender_api.operations import OPERATIONS
from recommender_client import Client
from serving.watching.metrics import METRICS

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
ARCHITECTURE = DOCS / "architecture.md"
API = DOCS / "guides" / "api.md"
_METRICS = re.compile(r"(<!-- metrics:begin -->\n).*?(<!-- metrics:end -->)", re.DOTALL)
_OPERATIONS = re.compile(r"(<!-- operations:begin -->\n).*?(<!-- operations:end -->)", re.DOTALL)
_FEATURES = re.compile(r"(<!-- features:begin -->\n).*?(<!-- features:end -->)", re.DOTALL)
_BLOCK = re.compile(r"(<!-- stages:begin -->\n).*?(<!-- stages:end -->)", re.DOTALL)
_MODEL = re.compile(r"^Reference model: (\w+) (\w+)\n(.*?)(?=\n\n|\Z)", re.DOTALL | re.MULTILINE)
_FACT = re.compile(r"^(Input|Output|Artifacts|Failure|Cadence): (.*?)(?=^\w+: |\Z)", re.DOTALL | re.MULTILINE)
FACTS = ("Input", "Output", "Artifacts", "Failure", "Cadence")


@dataclass(frozen=True)
class Model:
    """A model of the reference, as described in the docstring of its stage.

    Attributes:
        number: its place in the reference, for example 1a.
        name: its name there.
        stage: the class that does its work.
        path: of the module.
        facts: one text for each of `FACTS`.
    """

    number: str
    name: str
    stage: str
    path: Path
    facts: dict[str, str]


def stage_modules() -> Iterator[tuple[Path, ast.Module]]:
    """The modules of `serving/stages`, parsed."""
    for path in sorted((ROOT / "serving" / "stages").glob("*.py")):
        if path.name != "__init__.py":
            yield path, ast.parse(path.read_text(encoding="utf-8"))


def models() -> list[Model]:
    """The models of the reference that docstrings describe, in its order; the last one is in the gateway."""
    found = []
    catalogue = ROOT / "serving" / "gateway" / "catalogue" / "catalogue.py"
    for path, tree in [*stage_modules(), (catalogue, ast.parse(catalogue.read_text(encoding="utf-8")))]:
        for node in tree.body:
            text = (ast.get_docstring(node) or "") if isinstance(node, ast.ClassDef) else ""
            for number, name, block in _MODEL.findall(text):
                facts = {fact: " ".join(value.split()) for fact, value in _FACT.findall(block)}
                found.append(Model(number, name, getattr(node, "name", ""), path, facts))
    return sorted(found, key=lambda model: model.number)


def model_table() -> str:
    """A Markdown table of the reference's models."""
    lines = [f"| model of the reference | stage | {' | '.join(fact.lower() for fact in FACTS)} |", "|---" * 7 + "|"]
    for model in models():
        stage = f"[`{model.stage}`](../{model.path.relative_to(ROOT)})"
        facts = " | ".join(model.facts.get(fact, "") for fact in FACTS)
        lines.append(f"| {model.number} {model.name} | {stage} | {facts} |")
    return "\n".join(lines) + "\n"


def module_table() -> str:
    """A Markdown table of `serving/stages`: module and first sentence of its docstring."""
    lines = ["| stage module | purpose |", "|---|---|"]
    for path, tree in stage_modules():
        first = (ast.get_docstring(tree) or "").split("\n\n")[0].replace("\n", " ")
        lines.append(f"| [`{path.stem}`](../serving/stages/{path.name}) | {first} |")
    return "\n".join(lines) + "\n"


def feature_table() -> str:
    """A Markdown table of the built-in features."""
    lines = ["| feature | side | column | kind | model inputs | hidden with | in the API |", "|---" * 7 + "|"]
    for one in SHOP.features:
        layout = SideLayout.of([one])
        inputs = [f"{kind}: {', '.join(names)}" for kind, names in vars(layout).items() if names]
        uses = [use for use in ("filter", "answer") if getattr(one, use)]
        in_api = f"`{one.column_name}`: {', '.join(uses)}" if uses else ""
        cells = (one.name, one.side, f"{one.origin}.{one.column_name}", one.kind, "; ".join(inputs))
        lines.append(f"| {' | '.join(cells)} | {one.hidden_with or ''} | {in_api} |")
    return "\n".join(lines) + "\n"


def rendered() -> str:
    """The architecture page with fresh generated parts."""
    table = f"{model_table()}\nAll modules:\n\n{module_table()}"
    text = _BLOCK.sub(lambda match: match[1] + table + match[2], ARCHITECTURE.read_text(encoding="utf-8"))
    return _FEATURES.sub(lambda match: match[1] + feature_table() + match[2], text)


def metric_table() -> str:
    """A Markdown table of all metrics."""
    lines = ["| metric | kind | labels | meaning |", "|---|---|---|---|"]
    for metric in METRICS:
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        lines.append(f"| `{metric.name}` | {metric.kind} | {labels} | {metric.says} |")
    return "\n".join(lines) + "\n"


def operation_table() -> str:
    """A Markdown table of all operations."""
    lines = ["| call | effect | permission | client |", "|---|---|---|---|"]
    for one in OPERATIONS:
        method = one.name if hasattr(Client, one.name) else f"call({one.name.upper()})"
        lines.append(f"| `{one.method} {one.path}` | {one.summary} | `{one.permission}` | `{method}` |")
    return "\n".join(lines) + "\n"


def rendered_api() -> str:
    """The API guide with fresh tables of operations and metrics."""
    text = API.read_text(encoding="utf-8")
    text = _OPERATIONS.sub(lambda match: match[1] + operation_table() + match[2], text)
    return _METRICS.sub(lambda match: match[1] + metric_table() + match[2], text)


def main() -> int:
    """Writes or checks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a document is stale")
    pages = {ARCHITECTURE: rendered(), API: rendered_api()}
    if parser.parse_args().check:
        stale = [page for page, text in pages.items() if text != page.read_text(encoding="utf-8")]
        return int(bool(stale))
    for page, text in pages.items():
        page.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
