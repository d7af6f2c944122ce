from __future__ import annotations

from typing import Any

from training.evaluation.summary import headline


def figures(value: float, ndcg: float = 0.0) -> dict[str, Any]:
    return {"hr@10": {"value": value}, "ndcg@10": {"value": ndcg}}


def test_the_headline_says_whether_a_baseline_is_above() -> None:
    good, none = {"ease": figures(0.2, 0.01), "markov": figures(0.3, 0.02)}, {"ease": None}

    assert headline(figures(0.31, 0.03), good) == (
        "The pipeline is above every baseline: ndcg@10 0.0300; the best of them, markov, has 0.0200."
    )
    assert headline(figures(0.29, 0.03), good).startswith("The baseline markov is above the pipeline: hr@10 0.3000 aga")
    assert headline(figures(0.31, 0.015), good).startswith("The baseline markov is above the pipeline: ndcg@10 0.0200")
    assert headline(figures(0.31), none) == "No baseline was run."
