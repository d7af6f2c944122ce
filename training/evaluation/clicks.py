"""Click probabilities on logged impressions: logistic regression on id biases and, for simulated shops, the oracle."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, TypedDict

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy import optimize, sparse, special

from contracts import columns as c
from contracts.clock import day_to_name
from contracts.ids import AnyArray, BoolArray
from training.evaluation import metrics
from training.evaluation.bootstrap import Figure, resampled
from training.evaluation.config import EvaluationConfig
from training.features.encode import ITEM_ROW
from training.features.impressions import SUBJECT, read_impressions
from training.features.processed import Processed
from training.simulator import score_clicks

_BIASES: Final = (SUBJECT, ITEM_ROW, c.POSITION, c.DEVICE_TYPE)
_REGULARISATION: Final = 1.0
_NUM_REPLICATES: Final = 200
_STATISTICS: Final[dict[str, Callable[[AnyArray, BoolArray], float]]] = {
    "auc": metrics.auc,
    "log_loss": lambda probabilities, labels: float(metrics.log_loss(probabilities, labels).mean()),
    "calibration_error": metrics.calibration_error,
}


class ClickSection(TypedDict):
    """The report's `impressions`: figures by method and metric."""

    negatives: str
    methods: dict[str, dict[str, Figure]]


def has_impressions(raw_dir: Path) -> bool:
    """Whether the shop logs impressions."""
    return (raw_dir / c.IMPRESSIONS.name).is_dir()


def click_section(
    processed: Processed,
    columns: Mapping[str, str],
    config: EvaluationConfig,
    *,
    has_oracle: bool,
    records_dir: Path | None = None,
) -> ClickSection | None:
    """The report's `impressions`; None if the last day or the earlier days have no impressions with known clicks.

    Args:
        processed: the processed run; its raw folder has impressions.
        columns: names of the shop's columns by our names.
        config: seed of the intervals.
        has_oracle: whether the shop is simulated.
        records_dir: folder of the shop's records; rows of users erased there are left out.

    Raises:
        DataError: no impression is usable.
        SchemaError: a column is missing or of a wrong type.
    """
    raw_dir = Path(processed.info.raw_dir)
    table = read_impressions(processed, raw_dir, columns, records_dir)
    is_test = table[c.DAY].to_numpy() == processed.info.last_day
    if not is_test.any() or is_test.all():
        return None
    test, clicked = table.filter(pa.array(is_test)), table[c.CLICKED].to_numpy()
    probabilities = {"logistic": fit_id_biases(table, ~is_test)[is_test]}
    if has_oracle:
        probabilities["oracle"] = _oracle(processed, raw_dir, test)
    users = test[SUBJECT].to_numpy()
    return {
        "negatives": "shown and not clicked",
        "methods": {
            name: {
                metric: resampled(users, statistic, (values, clicked[is_test]), _NUM_REPLICATES, config.seed).json()
                for metric, statistic in _STATISTICS.items()
            }
            for name, values in probabilities.items()
        },
    }


def fit_id_biases(table: pa.Table, known: BoolArray) -> AnyArray:
    """Click probabilities [n] by L2-regularised logistic regression on biases of user, item, position and device.

    Args:
        table: impressions.
        known: rows whose clicks are learned from [n].
    """
    encoded = [table[name].combine_chunks().dictionary_encode().indices for name in _BIASES]
    codes = [indices.cast(pa.int64()).fill_null(-1).to_numpy() + 1 for indices in encoded]  # 0: not known
    sizes = [int(column.max()) + 1 for column in codes]
    places = np.stack(codes, axis=1) + np.concatenate([[0], np.cumsum(sizes)[:-1]])
    rows = np.repeat(np.arange(len(table)), len(codes))
    design = sparse.csr_matrix((np.ones(places.size), (rows, places.ravel())), shape=(len(table), sum(sizes)))
    learned, labels = design[known], table[c.CLICKED].to_numpy()[known]

    def loss(parameters: AnyArray) -> tuple[float, AnyArray]:
        bias, weights = parameters[0], parameters[1:]
        logits = learned @ weights + bias
        residual = special.expit(logits) - labels
        value = np.logaddexp(0, logits).sum() - logits[labels].sum() + _REGULARISATION / 2 * weights @ weights
        return float(value), np.concatenate([[residual.sum()], learned.T @ residual + _REGULARISATION * weights])

    fitted = optimize.minimize(loss, np.zeros(1 + sum(sizes)), jac=True, method="L-BFGS-B").x
    return np.asarray(special.expit(design @ fitted[1:] + fitted[0]))


def _oracle(processed: Processed, raw_dir: Path, test: pa.Table) -> AnyArray:
    """The Bayes probability of each impression of the table."""
    best = score_clicks(raw_dir, day_to_name(processed.info.last_day))
    slate = pc.index_in(test[c.REQUEST_ID], value_set=pa.array(best.request_ids)).to_numpy()
    return np.asarray(best.probability[slate, test[c.POSITION].to_numpy()])
