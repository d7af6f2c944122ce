"""The report's main table, for a terminal."""

from __future__ import annotations

from typing import Final

from training.evaluation.bootstrap import Figure
from training.evaluation.figures import SHARED, Figures
from training.evaluation.values import ReportValues

_COLUMNS: Final = ("hr@10", "ndcg@10", "mrr", "recall@300")
_WIDTH: Final = 24


def main_table(report: ReportValues) -> str:
    """Pipeline, baselines and oracle with 95 % intervals on HR@10 and NDCG@10, from the values of report.json."""
    data = report["data"]
    shop = " ".join(str(data[name]) for name in ("preset", "size") if data[name]) or data["shop"]
    title = (
        f"{shop}: {data['events']:,} events, {data['users']:,} users, {data['items']:,} items; "
        f"{data['test_events']:,} events of {data['test_day']}"
    )
    head = "seen filter off".ljust(_WIDTH) + "".join(name.rjust(_column_width(name)) for name in _COLUMNS)
    lines = [report["headline"], title, "", head]
    rows = {"pipeline": report["pipeline"], **report["baselines"], "oracle": report["oracle"]["full"]}
    lines += [_row(name, figures) for name, figures in rows.items() if figures is not None]
    lines += ["", "seen filter on"]
    filtered = {
        "pipeline": report["pipeline_filtered"],
        **report["baselines_filtered"],
        "oracle": report["oracle"]["filtered"],
    }
    lines += [_row(name, figures) for name, figures in filtered.items() if figures is not None]
    lines += ["", *_closing(report)]
    return "\n".join([*lines, *(f"! {warning}" for warning in report["warnings"])])


def _closing(report: ReportValues) -> list[str]:
    found = {name: _short(figure) for name, figure in report["retrieval"].items() if not isinstance(figure, str)}
    lines = [f"retrieval recall@100 {found['recall@100']}, recall@300 {found['recall@300']}"]
    if (refit := report["refit"]) is not None:
        parts = {name: (refit["before"][name], refit["after"][name]) for name in SHARED}
        texts = (f"{name} {_short(before)} before, {_short(after)} after" for name, (before, after) in parts.items())
        lines.append(f"refit on the validation days: {'; '.join(texts)}; served: after")
    shares = {
        "captured share": report["captured_share"],
        "captured share, filter on": report["captured_share_filtered"],
    }
    for title, figures in shares.items():
        if figures is not None:
            listed = ", ".join(f"{name} {_with_interval(figure)}" for name, figure in figures.items())
            lines.append(f"{title}: {listed}")
    return lines


def _row(name: str, figures: Figures) -> str:
    cells = (_with_interval(figures[column]) if "@10" in column else _short(figures[column]) for column in _COLUMNS)
    return ("  " + name).ljust(_WIDTH) + "".join(
        cell.rjust(_column_width(column)) for cell, column in zip(cells, _COLUMNS, strict=True)
    )


def _column_width(column: str) -> int:
    return 24 if "@10" in column else 12


def _short(figure: Figure) -> str:
    return "-" if figure["value"] is None else f"{figure['value']:.4f}"


def _with_interval(figure: Figure) -> str:
    if figure["low"] is None:
        return _short(figure)
    return f"{figure['value']:.4f} [{figure['low']:.3f}, {figure['high']:.3f}]"
