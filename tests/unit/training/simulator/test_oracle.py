from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.dataset as ds
import pytest

from contracts.errors import DataError
from tests.unit.training.simulator.conftest import START
from training.simulator import Oracle, OracleEvents, SimulatorConfig, Variant, simulate
from training.simulator.config import DriftConfig, ImpressionsConfig


@dataclass(frozen=True)
class Ranked:
    """What a variant does with T events: rank of the chosen item, and the mass of its own ten best."""

    rank: np.ndarray
    top_mass: np.ndarray

    @property
    def hits(self) -> np.ndarray:
        return self.rank < 10


def rank_events(oracle: Oracle, events: OracleEvents, variant: Variant) -> Ranked:
    rank, mass = np.full(len(events), -1), np.zeros(len(events))
    for index, scores in oracle.scores(events, variant):
        assert (rank[index] == -1).all()
        chosen = scores[np.arange(len(index)), events.item[index]]
        better = (scores > chosen[:, None]).sum(axis=1)
        tied_before = ((scores == chosen[:, None]).cumsum(axis=1))[np.arange(len(index)), events.item[index]] - 1
        rank[index] = better + tied_before
        mass[index] = np.sort(scores, axis=1)[:, -10:].sum(axis=1)
    assert (rank >= 0).all()
    return Ranked(rank, mass)


@pytest.fixture(scope="module")
def busy_oracle(tmp_path_factory: pytest.TempPathFactory) -> Oracle:
    """A shop with enough events for narrow errors, and with both kinds of drift."""
    raw = tmp_path_factory.mktemp("busy") / "raw"
    drift = DriftConfig(category_std=0.05, popularity_std=0.05, latent_hazard=0.02)
    config = SimulatorConfig(
        size="debug",
        num_users=900,
        num_events=45_000,
        start_date=START,
        drift=drift,
        impressions=ImpressionsConfig(slates_per_day=0),
    )
    simulate(config, raw)
    return Oracle.open(raw)


@pytest.fixture(scope="module")
def busy_events(busy_oracle: Oracle) -> OracleEvents:
    days = busy_oracle.truth.period.names[-7:]
    return busy_oracle.find([name for day in days for name in busy_oracle.sample(day).event_ids])


@pytest.fixture(scope="module")
def ranked(busy_oracle: Oracle, busy_events: OracleEvents) -> dict[Variant, Ranked]:
    return {variant: rank_events(busy_oracle, busy_events, variant) for variant in Variant}


@pytest.mark.slow
@pytest.mark.parametrize("variant", [Variant.FULL, Variant.TRUE_LATENT])
def test_the_mass_of_its_ten_best_is_its_hit_rate(ranked: dict[Variant, Ranked], variant: Variant) -> None:
    result = ranked[variant]
    assert len(result.rank) >= 20_000
    # Given the past, each hit is a coin with the mass as its probability: the differences are a martingale.
    difference = result.hits - result.top_mass
    assert abs(difference.mean()) < 3 * difference.std() / np.sqrt(len(difference))


@pytest.mark.slow
def test_nothing_beats_the_oracle(
    ranked: dict[Variant, Ranked], busy_oracle: Oracle, busy_events: OracleEvents
) -> None:
    full = ranked[Variant.FULL].hits.astype(float)
    train = ds.dataset(busy_oracle._log.raw_dir / "interactions", partitioning="hive").to_table().to_pandas()
    popular = train[train.day < busy_oracle.truth.period.names[-7]].item_id.value_counts().index[:10]
    rivals = {variant.value: ranked[variant].hits for variant in Variant if variant is not Variant.TRUE_LATENT}
    rivals["popularity"] = np.isin(np.array(busy_oracle.item_ids)[busy_events.item], popular)
    del rivals["full"]
    for name, hits in rivals.items():
        gain = hits.astype(float) - full
        assert gain.mean() < 3 * gain.std() / np.sqrt(len(gain)), name
    for name in ("no_last_item", "cold_user", "popularity"):
        loss = full - rivals[name]
        assert loss.mean() > 3 * loss.std() / np.sqrt(len(loss)), name
    assert ranked[Variant.TRUE_LATENT].hits.mean() > full.mean()


def test_scores_are_probabilities_of_launched_items(debug_raw: Path) -> None:
    oracle = Oracle.open(debug_raw)
    day = oracle.truth.period.names[5]
    events = oracle.sample(day)
    launched = oracle.truth.model.launched[5]
    assert not launched.all()
    for variant in (Variant.FULL, Variant.NO_LAST_ITEM, Variant.NO_CONTEXT, Variant.COLD_USER, Variant.TRUE_LATENT):
        for _, scores in oracle.scores(events, variant):
            assert scores.dtype == np.float32
            assert (np.isfinite(scores) == launched).all()
            np.testing.assert_allclose(scores[:, launched].sum(axis=1), 1, rtol=1e-4)


def test_a_sample_is_seeded_and_found_again_in_any_order(debug_raw: Path) -> None:
    oracle = Oracle.open(debug_raw)
    day = oracle.truth.period.names[-1]
    events = oracle.sample(day, max_events=40, seed=1)
    assert events.event_ids == oracle.sample(day, max_events=40, seed=1).event_ids
    assert events.event_ids != oracle.sample(day, max_events=40, seed=2).event_ids
    again = oracle.find(events.event_ids[::-1])
    assert again.item[::-1].tolist() == events.item.tolist()
    table = ds.dataset(debug_raw / "interactions").to_table().to_pandas().set_index("event_id")
    assert [oracle.item_ids[row] for row in events.item] == table.item_id[list(events.event_ids)].tolist()
    forwards, backwards = (rank_events(oracle, some, Variant.FULL).rank for some in (events, again))
    assert backwards[::-1].tolist() == forwards.tolist()


def test_the_future_changes_nothing(debug_raw: Path) -> None:
    """The same events scored with and without later events of their users in sight."""
    oracle = Oracle.open(debug_raw)
    days = oracle.truth.period.names
    early = oracle.sample(days[6], max_events=50)
    both = oracle.find([*early.event_ids, *oracle.sample(days[-1]).event_ids])
    assert len(both.steps) > len(early.steps)
    alone = oracle.belief(early, Variant.FULL).posterior
    np.testing.assert_allclose(oracle.belief(both, Variant.FULL).posterior[: len(early)], alone, rtol=1e-9)


def test_items_without_training_events_share_their_mean_score(debug_raw: Path) -> None:
    oracle = Oracle.open(debug_raw)
    days = oracle.truth.period.names
    events = oracle.sample(days[-1], max_events=30)
    table = ds.dataset(debug_raw / "interactions", partitioning="hive").to_table().to_pandas()
    known = set(table[table.day < days[2]].item_id)
    unknown = np.array([name not in known for name in oracle.item_ids]) & oracle.truth.model.launched[-1]
    assert 2 < unknown.sum() < 290
    full = dict(enumerate(np.concatenate([scores for _, scores in oracle.scores(events, Variant.FULL)])))
    blocks = [scores for _, scores in oracle.scores(events, Variant.NO_CONTENT, train_end=days[2])]
    for row, scores in enumerate(np.concatenate(blocks)):
        np.testing.assert_allclose(scores[unknown], full[row][unknown].mean(), rtol=1e-5)
        np.testing.assert_array_equal(scores[~unknown], full[row][~unknown])


def test_unknown_events_and_days_are_named(debug_raw: Path) -> None:
    oracle = Oracle.open(debug_raw)
    with pytest.raises(DataError, match=r"2 of 2 events are not in .*, for example 'nope'; looked in 2026-03-02 to"):
        oracle.find(["nope", "other"])
    with pytest.raises(DataError, match=r"no interactions of 2031-01-01 in .*; the days are 2026-03-02 to 2026-03-15"):
        oracle.sample("2031-01-01")
