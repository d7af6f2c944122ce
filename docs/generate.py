"""Writes the generated parts of the documents: `make docs`; with `--check` it only tells whether they are stale."""

from __future__ import annotations

import argparse
import ast
import re
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
ARCHITECTURE = DOCS / "architecture.md"
_BLOCK = re.compile(r"(<!-- stages:begin -->\n).*?(<!-- stages:end -->)", re.DOTALL)
_MODELS = re.compile(r"\s*\((?:model|models) ([^)]*)\)")


def stage_table() -> str:
    """A Markdown table of `serving/stages`: module, reference models, first sentence of its docstring."""
    lines = ["| stage module | reference model | what it does |", "|---|---|---|"]
    for path in sorted((ROOT / "serving" / "stages").glob("*.py")):
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        first = docstring.split("\n\n")[0].replace("\n", " ")
        if path.name == "__init__.py":
            continue
        models = _MODELS.search(first)
        text = _MODELS.sub("", first, count=1)
        lines.append(f"| [`{path.stem}`](../serving/stages/{path.name}) | {models[1] if models else ''} | {text} |")
    return "\n".join(lines) + "\n"


def rendered() -> str:
    """The architecture page with fresh generated parts."""
    table = stage_table()
    return _BLOCK.sub(lambda match: match[1] + table + match[2], ARCHITECTURE.read_text(encoding="utf-8"))


def main() -> int:
    """Writes or checks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a document is stale")
    if parser.parse_args().check:
        return int(rendered() != ARCHITECTURE.read_text(encoding="utf-8"))
    ARCHITECTURE.write_text(rendered(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
