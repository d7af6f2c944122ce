"""Our as-of features are those that Feast's historical retrieval joins."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from contracts.clock import DAY_S
from contracts.features import USER_ACTIVITY, feature_views, most_frequent, top_category
from tests.fixtures.plain_preprocess import run_without_ray
from training.features import preprocess as job
from training.features.config import PreprocessConfig
from training.features.events import EventTable
from training.features.online import final_profiles
from training.features.processed import Processed, open_processed
from training.simulator import SimulatorConfig, simulate

pytestmark = pytest.mark.slow
NUM_USERS = 60
ADDRESS = "redis://127.0.0.1:1"
"""Nothing listens there: historical retrieval needs no online store."""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Processed:
    folder = tmp_path_factory.mktemp("shop")
    simulate(SimulatorConfig(size="debug", impressions={"slates_per_day": 0}), folder / "raw")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job, "_run", run_without_ray)
        job.preprocess(PreprocessConfig(), folder / "raw", folder / "processed", shop="tiny")
    return open_processed(folder / "processed")


def names_of(shop: Processed, codes: list[int]) -> list[str | None]:
    tokens = shop.transforms.vocabularies["category_l1"].tokens
    return [tokens[code - 1] if code else None for code in codes]


def activity_log(shop: Processed, table: EventTable, subject: int) -> list[tuple[str, int, int, int]]:
    """What an online writer would have written: after each event, and at the start of the day after it.

    It begins with an empty row, since Feast's join leaves out entities that have none.
    """
    rows = slice(table.offsets[subject], table.offsets[subject + 1])
    codes, times, days = shop.item_category[table.item_row[rows]], table.timestamp[rows], table.day[rows]
    log = [(int(days[0]) * DAY_S, 0, 0)]
    for last in range(len(codes)):
        day = top_category(codes[: last + 1], times[: last + 1])
        known, through_today = codes[days < days[last]], codes[days <= days[last]]
        log.append((int(times[last]) + 1, day, most_frequent(known)))
        if last + 1 == len(codes) or days[last + 1] > days[last]:
            log.append(((int(days[last]) + 1) * DAY_S, day, most_frequent(through_today)))
    return [(table.subject_ids[subject], *entry) for entry in log]


def test_as_of_features_equal_feasts_historical_retrieval(shop: Processed, tmp_path: Path) -> None:
    from serving.stores import feast_repo
    from serving.stores.config import StoreConfig
    from serving.stores.table_values import feature_rows

    table = shop.events()
    subjects = np.random.default_rng(0).choice(len(table.subject_ids), NUM_USERS, replace=False)
    log = [entry for subject in subjects for entry in activity_log(shop, table, int(subject))]
    users, times, day, long = zip(*log, strict=True)
    names = {"top_category": names_of(shop, list(day)), "top_category_long": names_of(shop, list(long))}
    activity = pa.table({"user_id": users, **names, "event_timestamp": pa.array(times, pa.int64())})

    config = StoreConfig(shop="tiny", feast_dir=tmp_path / "feast")
    feast_repo.write_offline(config, USER_ACTIVITY, feature_rows(USER_ACTIVITY, activity))
    profile, _ = views = feature_views(shop.schema)
    profiles = feature_rows(profile, final_profiles(shop))
    feast_repo.write_offline(config, profile, profiles)
    store = feast_repo.open_store(config, ADDRESS)
    feast_repo.apply_views(store, config, views)

    rows = np.flatnonzero(np.isin(table.subject, subjects))
    asked = pd.DataFrame(
        {
            "user_id": table.subject_ids[table.subject[rows]],
            "event_timestamp": pd.to_datetime(table.timestamp[rows], unit="s", utc=True),
            "row": rows,
        }
    )
    joined = store.get_historical_features(asked, feast_repo.feature_references(shop.schema)).to_df().sort_values("row")
    assert len(joined) == len(rows) > 1_000
    ours = {
        "top_category": names_of(shop, table.context_codes("top_category")[rows].tolist()),
        "top_category_long": names_of(shop, table.context_codes("top_category_long")[rows].tolist()),
    }
    for name, expected in ours.items():
        found = [None if pd.isna(value) else value for value in joined[name]]
        assert found == expected, name
        assert len(set(expected)) > 5
    told = dict(zip(profiles["user_id"].to_pylist(), profiles["age"].to_pylist(), strict=True))
    ages = shop.transforms.encode("age_norm", np.array([told.get(user) for user in joined["user_id"]], dtype=float))
    assert shop.transforms.encode("age_norm", joined["age"].to_numpy(dtype=float)) == pytest.approx(ages)
    place = table.profile_names.numbers.index("age_norm")
    assert ages[:, 0] == pytest.approx(table.profile.numbers[table.subject[rows], place])
