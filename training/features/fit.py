"""Fits the transforms: those of users and context on training positives, those of items on the whole catalogue.

Items with a positive up to the last validation day have an id of their own: models that are trained on the validation
days, too, use all of them, and the others leave out those that they have not seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from contracts import columns as c
from contracts.encoders import NumberFit, prepared_numbers
from contracts.feature import Feature, FeatureKind, Side
from contracts.ids import AnyArray, IntArray
from contracts.schema import FeatureSchema
from contracts.transforms import FittedTransforms, category_encoder
from contracts.vocabulary import Vocabulary


class Observed(NamedTuple):
    """Values of a column and their weights."""

    values: pa.Array
    weights: AnyArray


@dataclass(frozen=True)
class Fitted:
    """Fits of some features.

    Attributes:
        vocabularies: of features with a vocabulary of their own.
        numbers: of numeric features.
        left_out: occurrences of categories without an id, by feature; only features that have some.
    """

    vocabularies: dict[str, Vocabulary]
    numbers: dict[str, NumberFit]
    left_out: dict[str, int]


def fit_features(features: Iterable[Feature], observed: Callable[[Feature], Observed]) -> Fitted:
    """Fits features on the observed values of their columns."""
    fitted, by_name = Fitted({}, {}, {}), {feature.name: feature for feature in features}
    for feature in by_name.values():
        if feature.vocabulary == feature.name:
            fitted.vocabularies[feature.name], left_out = _fit_categories(feature, *observed(feature))
            if left_out:
                fitted.left_out[feature.name] = left_out
        elif feature.kind is FeatureKind.NUMERIC:
            fitted.numbers[feature.name] = _fit_numbers(feature, *observed(feature))
    for feature in by_name.values():  # now that all vocabularies are known
        if feature.encode.within is not None:
            category = by_name[feature.encode.within]
            encode, size = category_encoder(category, fitted.vocabularies)
            codes, values = encode(observed(category).values.to_pylist()), observed(feature).values
            fitted.numbers[feature.name] = _fit_within(feature, fitted.numbers[feature.name], values, codes, size)
    return fitted


def fit_transforms(
    schema: FeatureSchema, statistics: pa.Table, users: pa.Table, items: pa.Table, timezone: str
) -> tuple[FittedTransforms, dict[str, int]]:
    """Fits the transforms of a shop.

    Args:
        schema: the features.
        statistics: a row a partition, of the schema `training.features.partition.STATISTICS`.
        users: canonical users by user row.
        items: canonical items by ItemRow.
        timezone: the shop's.

    Returns:
        The transforms, and the number of occurrences of categories without an id, by feature.
    """
    trained_users = users.take(pa.array(flat(statistics["train_user_rows"])))
    user_events = flat(statistics["train_user_events"])
    context = statistics["train_context"].combine_chunks().flatten(recursive=False)

    def observed(feature: Feature) -> Observed:
        column = feature.column_name
        match feature.origin:
            case "users":
                return Observed(trained_users[column].combine_chunks(), user_events)
            case "items":
                return Observed(items[column].combine_chunks(), np.ones(len(items)))
            case _:
                return observed_context(context, feature)

    fitted = fit_features((one for one in schema.features if one.origin != "derived"), observed)
    vocabularies = fitted.vocabularies
    if schema.of(Side.ITEM):
        known = pa.array(np.unique(flat(statistics["known_item_rows"])))
        vocabularies |= {c.ITEM_ID: Vocabulary.fit(items[c.ITEM_ID].take(known).to_pylist())}
    return FittedTransforms(schema, vocabularies, fitted.numbers, timezone), fitted.left_out


def fit_category(items: pa.Table) -> Vocabulary:
    """The vocabulary of category_l1; it depends on the catalogue alone."""
    return Vocabulary.fit(items[c.CATEGORY_L1].unique().to_pylist())


CONTEXT: pa.DataType = pa.struct(
    [("column", pa.string()), ("value", pa.string()), ("number", pa.float64()), ("weight", pa.float64())]
)
"""A value of the context in the statistics of a partition: a category or a number."""


def context_values(features: Iterable[Feature], rows: pa.Table, most: int = 10_000) -> pa.StructArray:
    """Values of the context in training rows, of type `CONTEXT`.

    Args:
        features: one per column of the context.
        rows: values of the training positives by column.
        most: more numbers than this are replaced by as many quantiles.
    """
    parts = [pa.array([], CONTEXT)]
    for feature in features:
        values = rows[feature.column_name].combine_chunks().drop_null()
        if feature.kind is FeatureKind.NUMERIC:
            numbers = np.sort(values.to_numpy(zero_copy_only=False))
            kept = numbers[np.linspace(0, len(numbers) - 1, most).astype(np.int64)] if len(numbers) > most else numbers
            weights = np.full(len(kept), len(numbers) / max(len(kept), 1))
            parts.append(_context(feature, pa.nulls(len(kept), pa.string()), pa.array(kept, pa.float64()), weights))
        elif feature.kind in (FeatureKind.CATEGORICAL, FeatureKind.CATEGORIES):
            flat_values = values.flatten() if feature.kind is FeatureKind.CATEGORIES else values
            counts = pc.value_counts(flat_values)
            names = counts.field("values").cast(pa.string())
            weights = counts.field("counts").to_numpy().astype(np.float64)
            parts.append(_context(feature, names, pa.nulls(len(names), pa.float64()), weights))
    return pa.concat_arrays(parts)


def observed_context(context: pa.StructArray, feature: Feature) -> Observed:
    """Values of a column of the context in all partitions."""
    mine = context.filter(pc.equal(context.field("column"), feature.column_name))
    values = mine.field("number" if feature.kind is FeatureKind.NUMERIC else "value")
    return Observed(values, mine.field("weight").to_numpy())


def flat(lists: pa.ChunkedArray) -> AnyArray:
    """All values of a column of lists."""
    values: AnyArray = lists.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return values


def _context(feature: Feature, names: pa.Array, numbers: pa.Array, weights: AnyArray) -> pa.StructArray:
    columns = [pa.array([feature.column_name] * len(weights), pa.string()), names, numbers, pa.array(weights)]
    return pa.StructArray.from_arrays(columns, fields=list(CONTEXT))


def _fit_categories(feature: Feature, values: pa.Array, weights: AnyArray) -> tuple[Vocabulary, int]:
    """The vocabulary of frequent categories, and the number of occurrences of the others."""
    if pa.types.is_list(values.type):
        weights = np.repeat(weights, pc.fill_null(pc.list_value_length(values), 0).to_numpy())
        values = values.flatten()
    counts = (
        pa.table({"value": values, "count": pa.array(weights, pa.float64())})
        .group_by("value")
        .aggregate([("count", "sum")])
    )
    counts = counts.filter(counts["value"].is_valid())
    order = pc.sort_indices(counts, sort_keys=[("count_sum", "descending"), ("value", "ascending")])
    counts = counts.take(order)
    encode = feature.encode
    kept = counts.filter(pc.greater_equal(counts["count_sum"], encode.min_count)).slice(0, encode.max_size)
    left_out = sum(counts["count_sum"].to_pylist()[len(kept) :])
    return Vocabulary.fit(kept["value"].to_pylist()), round(left_out)


def _fit_numbers(feature: Feature, values: pa.Array, weights: AnyArray) -> NumberFit:
    """Mean, spread and bins of the observed numbers; the spread is 1 if there are less than two distinct numbers."""
    numbers = prepared_numbers(feature, values.to_numpy(zero_copy_only=False))
    known = ~np.isnan(numbers) & (weights > 0)
    bins = feature.encode.bins
    if isinstance(bins, tuple):
        return NumberFit(edges=bins)
    if not known.any():
        return NumberFit()
    numbers, weights = numbers[known], weights[known]
    if bins is not None:
        return NumberFit(edges=_quantile_edges(numbers, weights, bins))
    mean = float(np.average(numbers, weights=weights))
    deviation = float(np.average((numbers - mean) ** 2, weights=weights)) ** 0.5
    return NumberFit(fill=_fill(feature, mean), mean=mean, std=deviation if deviation > 0 else 1.0)


def _fit_within(feature: Feature, overall: NumberFit, values: pa.Array, codes: IntArray, size: int) -> NumberFit:
    """Adds mean and spread by category: those of all items for row 0 and where numbers are missing or all the same.

    Args:
        feature: the numeric feature, of items.
        overall: its fit on all items.
        values: its column, [n].
        codes: encoded ids of the items' categories, [n].
        size: number of encoded ids.
    """
    numbers = prepared_numbers(feature, values.to_numpy(zero_copy_only=False))
    known = ~np.isnan(numbers) & (codes > 0)
    found = (
        pa.table({"code": codes[known], "number": numbers[known]})
        .group_by("code", use_threads=False)  # sums in one order: the same fit each time
        .aggregate([("number", name) for name in ("mean", "stddev", "min", "max")])
    )
    differ = pc.and_(pc.less(found["number_min"], found["number_max"]), pc.greater(found["number_stddev"], 0))
    found = found.filter(differ)
    means, stds = np.full(size, overall.mean), np.full(size, overall.std)
    means[found["code"]], stds[found["code"]] = found["number_mean"], found["number_stddev"]
    return overall.model_copy(update={"means": tuple(means.tolist()), "stds": tuple(stds.tolist())})


def _fill(feature: Feature, mean: float) -> float:
    given = feature.encode.fill
    if isinstance(given, float):
        return float(prepared_numbers(feature, np.array([given]))[0])
    return float(int(mean)) if given == "whole_mean" else mean


def _quantile_edges(numbers: NDArray[np.float64], weights: AnyArray, bins: int) -> tuple[float, ...]:
    """Distinct edges between `bins` parts of about equal weight."""
    order = np.argsort(numbers)
    shares = np.cumsum(weights[order]) / weights.sum()
    wanted = np.arange(1, bins) / bins
    places = np.minimum(np.searchsorted(shares, wanted, side="right"), len(numbers) - 1)
    return tuple(np.unique(numbers[order][places]).tolist())
