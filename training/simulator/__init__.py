"""A simulated shop whose best possible ranking is known exactly."""

from training.simulator.config import SimulatorConfig
from training.simulator.simulate import SimulationSummary, simulate

__all__ = ["SimulationSummary", "SimulatorConfig", "simulate"]
