"""The report as one self-contained HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from training.evaluation.bootstrap import Figure
from training.evaluation.figures import SHARED
from training.evaluation.plots import curves_plot, methods_plot, segments_plot
from training.evaluation.values import ReportValues

_TEMPLATE: Final = "report_page.html"
_MAIN_COLUMNS: Final = ("hr@5", "hr@10", "hr@20", "ndcg@10", "mrr", "recall@100", "recall@300")
MEANINGS: Final = {
    "hr": "share of events whose item is among the first K",
    "ndcg": "as HR, but a hit counts less the lower it stands: 1 / log2(1 + rank)",
    "mrr": "mean of 1 / rank over the whole list",
    "recall": "share of the targets that are found among the first K",
    "precision": "share of the first K that are targets",
    "f1": "harmonic mean of precision and recall",
    "map": "mean precision at the places of the targets",
    "auc": "probability that the target stands above another candidate",
    "coverage": "share of the launched catalogue that occurs in any list",
    "novelty": "mean surprise of the listed items in bits: rare items count more",
    "intra_list_diversity": "1 - mean cosine of the contents of a list's pairs",
}


def render_page(report: ReportValues) -> str:
    """The page of a report's values; it loads nothing else."""
    folder = Path(__file__).parent
    environment = Environment(
        loader=FileSystemLoader(folder), autoescape=select_autoescape(), undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters |= {"number": number, "figure": figure, "words": lambda name: name.replace("_", " ")}
    oracle = report["oracle"]
    plain = {"pipeline": report["pipeline"], **report["baselines"], "oracle": oracle["full"]}
    filtered = {"pipeline": report["pipeline_filtered"], **report["baselines_filtered"], "oracle": oracle["filtered"]}
    ablations = {"oracle": oracle["full"], **{f"oracle {name}": oracle[name] for name in oracle if name != "full"}}
    ablations.pop("oracle filtered")
    plots = {
        "methods": methods_plot(plain, SHARED),
        "methods_filtered": methods_plot(filtered, SHARED),
        "curves": curves_plot(report["curves"]),
        "segments": segments_plot(report["segments"], SHARED[0], "popularity_3d"),
        "ablations": methods_plot({"pipeline": report["pipeline"], **ablations}, SHARED) if oracle["full"] else "",
    }
    return environment.get_template(_TEMPLATE).render(
        report=report,
        plain=plain,
        filtered=filtered,
        columns=_MAIN_COLUMNS,
        shared=SHARED,
        meanings=MEANINGS,
        plots={name: Markup(svg) for name, svg in plots.items()},  # safe: drawn here, from numbers
    )


def number(value: float | None) -> str:
    """A number with four decimals; a dash for None."""
    return "-" if value is None else f"{value:.4f}" if abs(value) < 10 else f"{value:,.1f}"


def figure(values: Figure | None) -> Markup:
    """A figure with its interval, as table cell content."""
    if values is None or values["value"] is None:
        return Markup("-") if values is None or values["n"] else Markup("- <small>n = 0</small>")
    text = Markup("<b>{}</b>").format(number(values["value"]))
    if values["low"] is None:
        return text
    return text + Markup("<small>{} … {}</small>").format(*(f"{end:.3f}" for end in (values["low"], values["high"])))
