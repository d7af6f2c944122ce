"""What only the simulator knows: the choice model and the users' classes, stored beside the raw tables."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson

from contracts.errors import DataError
from contracts.ids import IntArray
from training.simulator.choice import ChoiceModel
from training.simulator.config import ImpressionsConfig
from training.simulator.period import Period

TRUTH: Final = "truth"
_ARRAYS = "model.npz"
_LATENT = "latent"
_VALUES = "shop.json"


@dataclass(frozen=True)
class Truth:
    """The shop behind the tables.

    Attributes:
        model: the exact distributions.
        latent: class z of each user on each day [U, D]; one column when it never changes.
        period: the days.
        impressions: how slates were shown and clicked.
    """

    model: ChoiceModel
    latent: IntArray
    period: Period
    impressions: ImpressionsConfig

    def save(self, raw_dir: Path) -> None:
        """Writes `truth/`."""
        folder = raw_dir / TRUTH
        folder.mkdir()
        values = {field.name: getattr(self.model, field.name) for field in fields(ChoiceModel)}
        arrays: dict[str, Any] = {name: value for name, value in values.items() if isinstance(value, np.ndarray)}
        scalars = {name: value for name, value in values.items() if name not in arrays}
        content = {"model": scalars, "period": vars(self.period), "impressions": self.impressions.model_dump()}
        np.savez(folder / _ARRAYS, **{_LATENT: self.latent, **arrays})
        (folder / _VALUES).write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2))

    @classmethod
    def open(cls, raw_dir: Path) -> Truth:
        """Reads `truth/`.

        Raises:
            DataError: it is missing: the tables are not simulated.
        """
        folder = raw_dir / TRUTH
        if not (folder / _VALUES).is_file():
            raise DataError(f"no {TRUTH}/ in {raw_dir}: only simulated tables have a known best ranking")
        content: dict[str, Any] = orjson.loads((folder / _VALUES).read_bytes())
        with np.load(folder / _ARRAYS, allow_pickle=False) as stored:
            arrays = dict(stored)
        latent = arrays.pop(_LATENT)
        return cls(
            model=ChoiceModel(**arrays, **content["model"]),
            latent=latent,
            period=Period(**content["period"]),
            impressions=ImpressionsConfig(**content["impressions"]),
        )
