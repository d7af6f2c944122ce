"""The configuration of the main job: one section for each part, and the checks between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from contracts.clock import Clock, ShopCalendar, SystemClock, day_to_name
from contracts.columns import INTERACTIONS, ITEMS, USERS
from contracts.config import ShopName, StrictConfig, load_config, merge
from contracts.declared import declared_columns, unknown_renames
from contracts.feature import Side
from contracts.history import HistoryReach
from contracts.presets import FeaturesConfig
from ray_apps.cluster import ClusterConfig
from serving.stores.config import StoreConfig
from training.compaction import CompactConfig
from training.embeddings import EmbedConfig
from training.evaluation import EvaluationConfig
from training.features.config import PreprocessConfig
from training.features.raw_tables import taken_names
from training.index import IndexConfig
from training.simulator import SimulatorConfig
from training.simulator.period import Period
from training.trainers.ranker import RankerTrainConfig
from training.trainers.two_tower import TwoTowerTrainConfig

SEEDED = ("simulator", "preprocess", "embed", "two_tower", "ranker", "index", "evaluation")
ZONED = ("simulator", "preprocess")
VAR_DIR = Path("var")
SHOP = "shop"


class JobConfig(StrictConfig):
    """From raw tables to a served bundle."""

    raw_dir: Path | None = None
    """Folder with users/, items/, interactions/day=…/; used as it is. Null simulates a shop below var_dir."""
    var_dir: Path = VAR_DIR
    """Folder of everything that is generated."""
    audit_file: Path | None = None
    """JSON lines of promotions and roll-backs; null means audit.jsonl below var_dir."""
    use_records: bool = False
    """Whether preprocessing also reads the interactions and features that serving recorded on past days."""
    shop: ShopName = SHOP
    """Name of the shop: prefix of bundle versions and of its keys in the stores."""
    seed: int = Field(default=0, ge=0)
    """Seed of every section that does not set its own."""
    timezone: str = "UTC"
    """The shop's, IANA name; of every section that does not set its own."""
    simulator: SimulatorConfig | None = None
    """The simulated shop; null where the tables are given by raw_dir."""
    features: FeaturesConfig = FeaturesConfig()
    """The features that the models read."""
    preprocess: PreprocessConfig = PreprocessConfig()
    """Reading, split and features."""
    embed: EmbedConfig = EmbedConfig()
    """Text and picture encoders."""
    two_tower: TwoTowerTrainConfig = TwoTowerTrainConfig()
    """Retrieval model and its training."""
    ranker: RankerTrainConfig = RankerTrainConfig()
    """Ranking model and its training."""
    refit: bool = True
    """Whether the served models are trained anew on training and validation days, with the same settings."""
    index: IndexConfig = IndexConfig()
    """Retrieval index."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """The report."""
    stores: StoreConfig = StoreConfig()
    """Online stores."""
    compact: CompactConfig = CompactConfig()
    """Compaction of what serving recorded."""
    ray: ClusterConfig = ClusterConfig()
    """The local cluster."""

    @model_validator(mode="before")
    @classmethod
    def _spread(cls, values: object) -> object:
        """Passes the shared values on to the sections; values that a section sets itself win."""
        if not isinstance(values, Mapping):
            return values
        shared: dict[str, object] = {}
        for key, sections in (("seed", SEEDED), ("timezone", ZONED)):
            if key in values:
                shared = merge(shared, {name: {key: values[key]} for name in sections})
        var_dir = Path(str(values.get("var_dir", VAR_DIR)))
        stores = {
            "feast_dir": var_dir / "feast",
            "records_dir": var_dir / "records",
            "embedded": {"data_dir": var_dir / "redis"},
        }
        shared["stores"] = {**stores, "shop": values.get("shop", SHOP)}
        if values.get("simulator") is None:
            shared.pop("simulator", None)
        return merge(shared, values)

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if self.raw_dir is None and self.simulator is None:
            raise ValueError("raw_dir and simulator are both null: name a folder of raw tables or simulate a shop")
        if self.simulator is not None and self.simulator.timezone != self.preprocess.timezone:
            raise ValueError(
                f"simulator.timezone={self.simulator.timezone} differs from preprocess.timezone="
                f"{self.preprocess.timezone}; set timezone once, at the top"
            )
        ShopCalendar(self.preprocess.timezone)  # refuses an unknown time zone before anything is written
        self._check_history()
        self._check_features()
        if self.stores.shop != self.shop:
            raise ValueError(f"stores.shop={self.stores.shop} differs from shop={self.shop}; leave stores.shop out")
        return self

    def _check_history(self) -> None:
        name = "mlp" if self.ranker.ranker == "mlp" else "model"
        reach = HistoryReach.of({"two_tower.model": self.two_tower.model, f"ranker.{name}": self.ranker.shape})
        for name, needed in (("history_length", reach.length), ("history_days", reach.days)):
            if reach.length and getattr(self.stores, name) < needed:
                raise ValueError(
                    f"stores.{name}={getattr(self.stores, name)} is below the models' {name}={needed}; raise it"
                )

    def _check_features(self) -> None:
        schema = self.features.to_schema()
        if fault := unknown_renames(self.preprocess.columns, schema):
            raise ValueError(f"preprocess.columns: {fault}")
        declared = declared_columns(schema)
        for table in (USERS, ITEMS, INTERACTIONS):
            table.with_columns(declared.get(table.name, ()), taken_names(table.name))
        if of_pairs := schema.of(Side.PAIR):
            raise ValueError(
                f"features: {of_pairs[0].name} has side=pair, but raw tables hold no features of pairs; take it out of "
                "features.columns"
            )
        numbers = [list(schema.layout(side).numbers) for side in (Side.QUERY, Side.ITEM)]
        if self.ranker.ranker == "dlrm" and self.ranker.model.lacks_numbers(*numbers):
            raise ValueError(
                "ranker.model.price_in_bottom=true mixes the numbers of query and item, the features have "
                f"{numbers[0]} and {numbers[1]}; set it to false"
            )
        if not schema.of(Side.ITEM) or not schema.of(Side.QUERY):
            raise ValueError(
                "features: two-tower and ranker need features of items and of queries; take the preset shop, or "
                "declare some in features.columns"
            )

    def with_dates(self, clock: Clock) -> JobConfig:
        """The config with a fixed start date of the simulator, so that it stays the same if a run passes midnight."""
        simulator = self.simulator
        if simulator is None or simulator.start_date is not None:
            return self
        first_day = date.fromisoformat(day_to_name(Period.of(simulator, clock).first_day))
        settled = simulator.model_copy(update={"start_date": first_day})
        return self.model_copy(update={"simulator": settled})


def load_job_config(path: str | Path, overrides: Sequence[str] = (), clock: Clock | None = None) -> JobConfig:
    """Reads a job config; see `contracts.config.load_config`.

    Raises:
        ConfigError: a key, value or combination is not legal.
    """
    return load_config(JobConfig, path, overrides).with_dates(clock or SystemClock())
