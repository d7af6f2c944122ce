"""Plots of the report, as SVG text to be put into the page."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Final

import matplotlib
from matplotlib import figure as plt
from matplotlib.axes import Axes

from training.evaluation.bootstrap import Figure

OURS: Final = "#2457d6"
OTHERS: Final = "#9aa7bd"
BEST: Final = "#1f8a5b"
_LINES: Final = {
    "pipeline": OURS,
    "retrieval": "#7aa2f7",
    "oracle": BEST,
    "popularity_3d": "#d08a2e",
    "ease": "#b0578d",
}
_STYLE: Final = {
    "font.family": "sans-serif",
    "font.size": 9.5,
    "svg.fonttype": "none",
    "svg.hashsalt": "report",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#b8c0cf",
    "text.color": "#1c2433",
    "axes.labelcolor": "#48536a",
    "xtick.color": "#48536a",
    "ytick.color": "#1c2433",
}
Figures = Mapping[str, Figure]


def methods_plot(rows: Mapping[str, Figures | None], metrics: Sequence[str]) -> str:
    """Horizontal bars with intervals: one panel a metric, one bar a method; "n = 0" where there is no figure."""
    shown = {name: figures for name, figures in rows.items() if figures is not None}
    with matplotlib.rc_context(_STYLE):
        figure = plt.Figure(figsize=(9.2, 0.34 * len(shown) + 0.9), layout="constrained")
        panels = figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
        for axes, metric in zip(panels, metrics, strict=True):
            _bars(axes, shown, metric)
            axes.set_title(metric, loc="left", fontsize=10.5, fontweight="bold")
        panels[0].invert_yaxis()  # the axis is shared by all panels
        return _svg(figure)


def segments_plot(segments: Mapping[str, Figures], metric: str, popularity: str) -> str:
    """Grouped bars by segment: popularity, pipeline and, for simulated shops, the oracle."""
    shown = {name: figures for name, figures in segments.items() if figures[metric]["n"]}
    series = {
        f"{popularity}_{metric}": ("popularity", OTHERS),
        metric: ("pipeline", OURS),
        f"oracle_{metric}": ("oracle", BEST),
    }
    series = {key: look for key, look in series.items() if all(key in figures for figures in shown.values())}
    width = 0.8 / len(series)
    with matplotlib.rc_context(_STYLE):
        figure = plt.Figure(figsize=(9.2, 3.1), layout="constrained")
        axes = figure.subplots()
        for place, (key, (label, colour)) in enumerate(series.items()):
            found = enumerate(_interval(figures[key]) for figures in shown.values())
            drawn = [(number, interval) for number, interval in found if interval is not None]
            offsets = [number + (place - (len(series) - 1) / 2) * width for number, _ in drawn]
            intervals = [interval for _, interval in drawn]
            heights, errors = [value for value, _, _ in intervals], _errors(intervals)
            axes.bar(offsets, heights, width * 0.92, color=colour, label=label, yerr=errors, error_kw=_ERROR_BARS)
        labels = [f"{name.replace('_', ' ')}\nn = {figures[metric]['n']:,}" for name, figures in shown.items()]
        axes.set_xticks(range(len(shown)), labels)
        axes.set_ylabel(metric)
        axes.legend(frameon=False, ncols=len(series), loc="lower right", bbox_to_anchor=(1, 1))
        return _svg(figure)


def curves_plot(curves: Mapping[str, Sequence[float] | None]) -> str:
    """Hit rate by length of the list, for the methods that have a curve."""
    with matplotlib.rc_context(_STYLE):
        figure = plt.Figure(figsize=(9.2, 3.4), layout="constrained")
        axes = figure.subplots()
        for name, colour in _LINES.items():
            if (curve := curves.get(name)) is not None:
                style = "--" if name in ("oracle", "retrieval") else "-"
                axes.plot(curves["k"] or (), curve, style, color=colour, label=name.replace("_", " "), linewidth=1.8)
        axes.set_xscale("log")
        ticks = [1, 3, 10, 30, 100, 300]
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.minorticks_off()
        axes.set_xlabel("length of the list")
        axes.set_ylabel("share of targets found")
        axes.grid(axis="y", color="#e6eaf2")
        if axes.lines:
            axes.legend(frameon=False)
        return _svg(figure)


_ERROR_BARS: Final = {"ecolor": "#1c2433", "elinewidth": 1, "capsize": 2}


def _bars(axes: Axes, rows: Mapping[str, Figures], metric: str) -> None:
    axes.set_yticks(range(len(rows)), [name.replace("_", " ") for name in rows])
    axes.set_ylim(-0.5, len(rows) - 0.5)
    for place, (name, figures) in enumerate(rows.items()):
        text, end = "n = 0", 0.0
        if (interval := _interval(figures[metric])) is not None:
            value, _, end = interval
            text = f"{value:.3f}"
            colour = OURS if name == "pipeline" else BEST if name.startswith("oracle") else OTHERS
            axes.barh(place, value, color=colour, xerr=_errors([interval]), error_kw=_ERROR_BARS)
        axes.annotate(text, (end, place), (4, 0), textcoords="offset points", va="center", fontsize=9)
    axes.margins(x=0.16)
    axes.set_xlim(left=0)


def _interval(figure: Figure) -> tuple[float, float, float] | None:
    """Value, low and high; both ends are the value where there is no interval. None where there is no value."""
    value, low, high = figure["value"], figure["low"], figure["high"]
    return None if value is None else (value, value if low is None else low, value if high is None else high)


def _errors(intervals: Sequence[tuple[float, float, float]]) -> list[list[float]]:
    """Distances from the values to both ends of their intervals."""
    down = [max(value - low, 0.0) for value, low, _ in intervals]
    return [down, [max(high - value, 0.0) for value, _, high in intervals]]


def _svg(figure: plt.Figure) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
