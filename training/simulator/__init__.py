"""A simulated shop whose best possible ranking is known exactly."""

from training.simulator.click_oracle import ClickScores, score_clicks
from training.simulator.config import SimulatorConfig
from training.simulator.oracle import Oracle, OracleEvents, Variant
from training.simulator.simulate import SimulationSummary, simulate

__all__ = [
    "ClickScores",
    "Oracle",
    "OracleEvents",
    "SimulationSummary",
    "SimulatorConfig",
    "Variant",
    "score_clicks",
    "simulate",
]
