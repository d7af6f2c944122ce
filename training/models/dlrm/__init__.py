"""The DLRM: a ranker of dot products between all fields of a query, an item and their pair."""

from training.models.dlrm.config import DLRMConfig
from training.models.dlrm.model import DLRM

__all__ = ["DLRM", "DLRMConfig"]
