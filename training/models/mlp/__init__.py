"""A ranker over inputs of each query and item: few weights, for training rows that the retriever has not seen."""

from training.models.mlp.config import MLPConfig
from training.models.mlp.model import MLPRanker

__all__ = ["MLPConfig", "MLPRanker"]
