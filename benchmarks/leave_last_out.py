"""Quality on sequence data under the protocol of the literature: leave the last event out and rank all items.

Each user's last event is the target of the test, the one before it is the target of the validation, and all earlier
ones are the training. Items of the user's earlier events are masked, unless they are the target. The baselines learn
from the same events and rank under the same mask.
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any, Final

import numpy as np
import torch

from benchmarks.common import Figure, parser, report
from benchmarks.last_events import CUTS, METHODS, K, Split, baseline_ranks, figures_of, ranks_of
from benchmarks.sequence_tables import convert_recbole, process
from contracts.config import merge, override_values, validate
from contracts.cores import ThreadsByLoad
from contracts.ids import AnyArray, IntArray, LongArray
from ray_apps.cluster import ClusterConfig, connect
from training.evaluation.ranked import block_rows_for
from training.features import preprocess
from training.features.processed import Processed
from training.models.inputs import ItemTensors
from training.models.loading import TWO_TOWER, build_model
from training.models.schema import ModelSchema
from training.models.two_tower import TwoTower
from training.trainers.data import WorkerData
from training.trainers.retrieval import RetrievalTask
from training.trainers.steps.loop import TrainState, fit, keep_freed_memory, use_sparse_gradients
from training.trainers.two_tower import TwoTowerTrainConfig

RECIPE: Final[dict[str, Any]] = {
    "epochs": 14,
    "batch_size": 1_024,
    "learning_rate": 2e-3,
    "scalar_rate_factor": 1.0,  # at ten times this rate, norms and biases of the blocks overshoot
    "weight_decay": 0.1,
    "model": {
        "output_dim": 128,
        "hidden_dims": [128],
        "history": "transformer",
        "history_length": 32,
        "history_days": 36_500,  # public data have gaps of years; the length alone limits the history
        "history_dim": 128,
        "history_heads": 2,
        "transformer": {"blocks": 1, "dropout": 0.4},
        "id_vector": True,
        "item_bias": True,
        "item_age": False,  # all items are ranked, as if they had always been there
        "id_dropout": 0.0,  # an id is all that is known of an item
        "user_dropout": 0.99,  # memorized users harm their later events
        "dropout": 0.4,
    },
}
"""Settings of the two-tower, chosen by the validation of MovieLens-100K."""
_NO_TABLES: Final = "no tables: name a folder of raw tables by --raw, or RecBole's wheel by --recbole"
_TOO_LARGE: Final = "the catalogue is too large for a matrix of all pairs of items"


class Trial:
    """The two-tower, trained once.

    Args:
        processed: the tables.
        config: of the training.
    """

    def __init__(self, processed: Processed, config: TwoTowerTrainConfig) -> None:
        torch.manual_seed(config.seed)
        events, info = processed.events(), processed.info
        # Without biases by the item's age, days change nothing. One day for all events saves a component a day.
        self.events = replace(events, day=np.full_like(events.day, info.first_day))
        self.split, self.config = Split.of(self.events), config
        no_content = np.zeros((processed.num_items, 1), dtype=np.float32)
        validation = self.split.validation
        wanted = min(len(validation), config.validation_rows)
        self.data = WorkerData(
            events=self.events,
            items=processed.item_features(no_content, no_content),
            encoded_id=processed.item_encoded_id,
            transforms=processed.transforms,
            first_day=info.first_day,
            num_days=1,
            train_rows=self.split.train,
            labelled_rows=self.split.train[:0],
            validation_rows=validation[np.linspace(0, len(validation), wanted, endpoint=False).astype(np.int64)],
        )
        schema = ModelSchema.of(processed.transforms, self.data.items)
        tensors = ItemTensors(self.data.items, self.data.encoded_id)
        model = build_model(TWO_TOWER, config.model.model_dump(), schema, tensors)
        assert isinstance(model, TwoTower)
        model.start_from_counts(self.data.counts(torch.device("cpu")))
        use_sparse_gradients(model, config.sparse_above)
        self.model = model
        self._best, self._best_weights = -1.0, model.state_dict()

    def train(self) -> float:
        """Trains, keeps the weights of the epoch with the best NDCG of the validation, and returns the seconds."""
        started = time.perf_counter()
        threads = ThreadsByLoad(self.config.threads, torch.set_num_threads, fixed=self.config.fixed_threads)
        keep_freed_memory()
        task = RetrievalTask(self.model, self.data, self.config.negatives, self.config.batch_size)
        fit(task, self.config, keep=self._keep_best, before_step=threads.follow)
        self.model.load_state_dict(self._best_weights)
        return time.perf_counter() - started

    def ranks(self, rows: LongArray) -> IntArray:
        """Ranks of the items of some events."""
        self.model.eval()
        with torch.no_grad():
            return ranks_of(self._scores(rows), self.events, rows)

    def _scores(self, rows: LongArray) -> Iterable[AnyArray]:
        shape = self.model.config
        candidates = self.model.candidate(torch.arange(len(self.model.items)))
        size = block_rows_for(len(candidates))
        for start in range(0, len(rows), size):
            part = rows[start : start + size]
            batch = self.data.batch(
                part, history_length=shape.history_length, history_days=shape.history_days, masked=False
            )
            yield (self.model.query(batch.queries) @ candidates.T).numpy()

    def _keep_best(self, state: TrainState) -> None:
        found = figures_of(self.ranks(self.data.validation_rows))
        print(
            f"seed {self.config.seed}, epoch {state['epoch']}: loss {state['metrics']['loss']:.3f}, {found}", flush=True
        )
        if found[f"ndcg{K}"] > self._best:
            self._best = found[f"ndcg{K}"]
            self._best_weights = {name: value.clone() for name, value in self.model.state_dict().items()}


def config_of(overrides: Sequence[str], seed: int) -> TwoTowerTrainConfig:
    """The recipe with a seed, and other values for some keys."""
    values = merge(merge(RECIPE, {"seed": seed}), override_values(overrides))
    return validate(TwoTowerTrainConfig, values, source="config of the two-tower")


def measure(processed: Processed, seeds: Sequence[int], overrides: Sequence[str]) -> dict[str, Figure]:
    """All figures; those of the model are means over the seeds, with the lowest and the highest."""
    runs, events = [], processed.events()
    split = Split.of(events)
    print(f"{len(split.test):,} users, {processed.num_items:,} items, {len(split.train):,} training events", flush=True)
    found: dict[str, float] = {}
    for name, ranks in baseline_ranks(events, split, split.test, processed.num_items).items():
        found |= figures_of(ranks, f"{name}_")
    for seed in seeds:
        trial = Trial(processed, config_of(overrides, seed))
        seconds = trial.train()
        runs.append(figures_of(trial.ranks(split.test)) | {"train_s": seconds})
        print(f"seed {seed}: {runs[-1]}", flush=True)
    return over_seeds(runs) | of_baselines(found, _TOO_LARGE)


def over_seeds(runs: Sequence[Mapping[str, float]]) -> dict[str, Figure]:
    """Mean, lowest and highest value of each figure."""
    figures = {}
    for name in runs[0]:
        values = [run[name] for run in runs]
        unit = "s" if name.endswith("_s") else "share"
        figures[name] = Figure(mean(values), unit, min(values), max(values))
    return figures


def of_baselines(found: Mapping[str, float], reason: str) -> dict[str, Figure]:
    """The figures of all baselines; those that were not found have the reason."""
    names = [f"{method}_{cut}{K}" for method in METHODS for cut in CUTS]
    return {name: Figure(found.get(name), "share", reason=None if name in found else reason) for name in names}


def main(argv: Sequence[str] | None = None) -> None:
    """The command line."""
    options = parser("leave_last_out", (__doc__ or "").partition("\n")[0])
    tables = options.add_mutually_exclusive_group()
    tables.add_argument("--raw", type=Path, metavar="DIR", help="raw tables: interactions/day=…/, items/, users/")
    tables.add_argument("--recbole", type=Path, metavar="PATH", help="a wheel or folder with a .inter file")
    options.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of training")
    options.add_argument("--order-only", action="store_true", help="use the order of the events, not their times")
    options.add_argument("overrides", nargs="*", metavar="key=value", help="settings of the two-tower's training")
    arguments = options.parse_args(argv)
    if arguments.raw is None and arguments.recbole is None:
        own = {f"{cut}{K}": Figure(None, "share", reason=_NO_TABLES) for cut in CUTS}
        own["train_s"] = Figure(None, "s", reason=_NO_TABLES)
        return report(own | of_baselines({}, _NO_TABLES), arguments.json)
    overrides, seeds = arguments.overrides, arguments.seeds
    if arguments.quick:
        overrides, seeds = ["epochs=1", *overrides], seeds[:1]
    config_of(overrides, 0)  # refuses a wrong key before anything is written
    with tempfile.TemporaryDirectory() as folder:
        raw_dir = arguments.raw
        if raw_dir is None:
            raw_dir = Path(folder) / "recbole"
            convert_recbole(arguments.recbole, raw_dir)
        connect(ClusterConfig())
        logging.getLogger(preprocess.__name__).setLevel(logging.ERROR)  # its warnings are about days, unused here
        processed = process(raw_dir, Path(folder), order_only=arguments.order_only)
        figures = measure(processed, seeds, overrides)
    return report(figures, arguments.json)


if __name__ == "__main__":
    main()
