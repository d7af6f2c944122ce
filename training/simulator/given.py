"""Given items and users as input of a simulated shop."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from contracts import columns as c
from contracts.errors import DataError
from contracts.ids import IntArray
from training.simulator import vocabulary as words
from training.simulator.catalogue import Catalogue, price_bands
from training.simulator.config import BRAND, SimulatorConfig
from training.simulator.period import Period
from training.simulator.shop import Profiles, draw_profiles, launch_days, popularity, standardise_in_category
from training.simulator.texts import Wording, taste_sentence, write_text
from training.simulator.traits import GENDERS, NO_GENDER, DoubleArray, ItemTraits
from training.tables import ColumnMap, read_table

_ONE_CATEGORY = "all"
_LOG_PRICE_MEAN, _LOG_PRICE_STD = 3.9, 0.8


def read_given(path: Path, schema: c.TableSchema, renames: ColumnMap) -> pa.Table:
    """Reads a given table by the rules of raw tables; columns that it lacks are null.

    Args:
        path: a Parquet file or folder.
        schema: the raw table.
        renames: raw column to its name in the file, of this table and others.

    Raises:
        SchemaError: as `training.tables.read_table`.
        DataError: as there, or the table has no rows.
    """
    table = read_table(path, schema, {name: renames[name] for name in schema.names if name in renames})
    if len(table) == 0:
        raise DataError(f"{path}: the {schema.name} table is empty, expected at least one row")
    return table


def read_catalogue(config: SimulatorConfig, period: Period, rng: np.random.Generator) -> Catalogue:
    """The given items; missing values are drawn or derived.

    Missing category_l1 is one category for all, missing category_l2 the category_l1, missing gender `Any`; missing
    prices and launch days are drawn; a missing text is written. With `brands` the column `brand` is read where there is
    one; items with a null there have no brand. The taste is always drawn; the picture shows it and, with
    `describe_taste`, the description's last sentence names it. A launch takes effect at the next shop-local midnight.
    """
    assert config.items_path is not None
    extra = [c.Column(BRAND, c.Kind.CATEGORY)] if config.brands else []
    table = read_given(config.items_path, c.ITEMS.with_columns(extra), config.columns)
    count = len(table)
    l1_names = _strings(table, c.CATEGORY_L1, [_ONE_CATEGORY] * count)
    l2_names = _strings(table, c.CATEGORY_L2, l1_names)
    _, category_l1 = np.unique(l1_names, return_inverse=True)
    _, category_l2 = np.unique(
        [f"{one}\n{two}" for one, two in zip(l1_names, l2_names, strict=True)], return_inverse=True
    )
    price = _prices(table, config.items_path, rng)
    traits = ItemTraits(
        category_l1=category_l1.astype(np.int32),
        category_l2=category_l2.astype(np.int32),
        price_z=standardise_in_category(np.log(price), category_l1),
        gender=_genders(table),
        taste=rng.integers(0, len(words.TASTES), count).astype(np.int32),
        popularity=popularity(count, config.parameters, rng),
        launch_day=_launches(table, period, rng),
        brand=np.zeros(count, dtype=np.int32),
    )
    if not (traits.launch_day <= 0).any():
        raise DataError(
            f"{config.items_path}: no item is launched by the first day {period.names[0]}; set start_date later"
        )
    titles, descriptions = _texts(table, config, traits, l1_names, l2_names, rng)
    item_ids = table[c.ITEM_ID].to_pylist()
    catalogue = Catalogue(item_ids, titles, descriptions, l1_names, l2_names, price, traits, [None] * count)
    return catalogue.with_brands(table[BRAND].to_pylist()) if config.brands else catalogue


def _strings(table: pa.Table, name: str, default: list[str]) -> list[str]:
    return [own or other for own, other in zip(table[name].to_pylist(), default, strict=True)]


def _prices(table: pa.Table, path: Path, rng: np.random.Generator) -> DoubleArray:
    drawn: DoubleArray = np.round(np.exp(rng.normal(_LOG_PRICE_MEAN, _LOG_PRICE_STD, len(table))), 2).astype(np.float64)
    price = table[c.PRICE].to_numpy().astype(np.float64)
    filled: DoubleArray = np.where(np.isnan(price), drawn, price)
    if (filled <= 0).any():
        row = int(np.argmax(filled <= 0))
        raise DataError(f"{path}: price {filled[row]} of item {table[c.ITEM_ID][row].as_py()!r} is not positive")
    return filled


def _genders(table: pa.Table) -> IntArray:
    codes = pc.index_in(table[c.GENDER], pa.array(GENDERS)).fill_null(NO_GENDER)
    genders: IntArray = codes.to_numpy().astype(np.int32)
    return genders


def _launches(table: pa.Table, period: Period, rng: np.random.Generator) -> IntArray:
    drawn = launch_days(len(table), period.num_days, rng)
    known = table[c.LAUNCHED_AT].is_valid().to_numpy()
    seconds = table[c.LAUNCHED_AT].fill_null(0).to_numpy()
    # The last second before a launch is in the day before the first full day.
    full_day = period.calendar.day(seconds - 1) + 1 - period.first_day
    days: IntArray = np.where(known, full_day, drawn).astype(np.int32)
    return days


def _texts(
    table: pa.Table,
    config: SimulatorConfig,
    traits: ItemTraits,
    l1_names: list[str],
    l2_names: list[str],
    rng: np.random.Generator,
) -> tuple[list[str], list[str]]:
    titles = _strings(table, c.TITLE, [""] * len(table))
    descriptions = _strings(table, c.DESCRIPTION, [""] * len(table))
    bands = price_bands(traits.price_z)
    for row, (l1, l2) in enumerate(zip(l1_names, l2_names, strict=True)):
        taste = int(traits.taste[row])
        title, text = write_text(Wording(l1, l2, (l2,), taste, int(bands[row]), int(traits.gender[row])), rng)
        titles[row] = titles[row] or title
        described = f"{descriptions[row]} {taste_sentence(taste, rng)}" if config.describe_taste else descriptions[row]
        descriptions[row] = described if descriptions[row] else text
    return titles, descriptions


def read_users(path: Path, renames: ColumnMap, rng: np.random.Generator) -> tuple[pa.Array, Profiles]:
    """The given users; missing ages are drawn as for drawn users, and so are genders if the table has none.

    A gender other than F and M is a user without preference.
    """
    table = read_given(path, c.USERS, renames)
    drawn = draw_profiles(len(table), rng)
    given = table[c.AGE].to_numpy().astype(np.float32)
    age = np.where(np.isnan(given), drawn.age, given).astype(np.float32)
    gender = drawn.gender if table[c.GENDER].null_count == len(table) else _genders(table)
    return table[c.USER_ID].combine_chunks(), Profiles(age, gender)
