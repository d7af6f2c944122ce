"""Inputs of a query and an item, computed from the history and the catalogue: what both have in common.

Training rows and requests call the same functions. A category that is out of vocabulary, or missing content, has
nothing in common with anything.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

from training.models.inputs import ItemTensors, QueryTensors
from training.models.schema import ModelSchema

_SHARE_PRIOR: Final = 5.0
"""Weight of a category's share of the catalogue, in interactions, in its share of a history."""


class ItemTables:
    """What the inputs read of the items: categories, numbers, and content of unit length.

    Args:
        items: the catalogue, or given items.
        schema: sizes of the items' inputs.
        within: see `MLPConfig`.

    Attributes:
        codes: [I, K] int64.
        shares: share of the items with the same category, by feature [I, K].
        numbers: [I, F].
        content: content vectors after each other [I, W]: plain, then without the mean of the category.
        widths: of each of them.
    """

    def __init__(self, items: ItemTensors, schema: ModelSchema, within: str | None) -> None:
        columns, names = items.columns, list(schema.item.codes)
        self.codes = columns.codes.long()
        counts = [torch.bincount(codes, minlength=1)[codes] for codes in self.codes.T]
        self.shares = torch.stack(counts, dim=1).float() / len(items) if counts else columns.numbers.new_zeros(0, 0)
        self.numbers = columns.numbers
        scaled = [vectors / vectors.std(dim=0).clamp(min=1e-6) for vectors in columns.vectors]
        if within in names:
            category = self.codes[:, names.index(within)]
            scaled += [_without_mean(vectors, category) for vectors in scaled]
        self.widths = [vectors.shape[1] for vectors in scaled]
        unit = [F.normalize(vectors, dim=1) for vectors in scaled]
        self.content = torch.cat(unit, dim=1) if unit else columns.numbers.new_zeros(len(items), 0)


def _without_mean(vectors: Tensor, category: Tensor) -> Tensor:
    """Vectors [I, D] without the mean of their category [I]; missing ones, all zero, stay so and do not count."""
    present = vectors.any(dim=1, keepdim=True).float()
    sums = vectors.new_zeros(int(category.max()) + 1, vectors.shape[1]).index_add_(0, category, vectors)
    counts = vectors.new_zeros(len(sums), 1).index_add_(0, category, present)
    return (vectors - (sums / counts.clamp(min=1))[category]) * present


class PastItems:
    """The histories of B queries, as the inputs read them.

    Args:
        tables: of the items.
        queries: B queries with histories of N.

    Attributes:
        rows: [B, N] places of items in the tables, 0 where padded.
        valid: [B, N] bool.
        weights: [B, N] float, 1 / length where valid.
        in_session: [B] float: whether the last item's session goes on.
        known: [B] float: whether there is a last item.
    """

    def __init__(self, tables: ItemTables, queries: QueryTensors) -> None:
        self.tables = tables
        self.valid, self.rows = queries.history_rows >= 0, queries.history_rows.clamp(min=0)
        self.count = self.valid.sum(dim=1).float()
        self.weights = self.valid / self.count.clamp(min=1)[:, None]
        newest = slice(1)  # none, if histories have no length
        self.known = self.valid[:, newest].any(dim=1).float()
        self.in_session = queries.same_session[:, newest].any(dim=1).float()

    def state(self) -> Tensor:
        """What says how much the other inputs mean: is there a session, a history, how long is it, [B, 3]."""
        return torch.stack([self.in_session, self.known, self.count.log1p()], dim=1)

    def categories(self, rows: Tensor, *, last: bool, history: bool) -> list[Tensor]:
        """For each categorical feature: equal to the last item's, in its session, and log share of the history [B, C].

        The share is (times + a * share of the catalogue) / (length + a).
        """
        found = []
        for codes, shares in zip(self.tables.codes.T, self.tables.shares.T, strict=True):
            candidate, past = codes[rows], codes[self.rows].masked_fill(~self.valid, 0)
            if last:
                same = ((candidate == past[:, :1]) & (candidate > 0)).float()
                found += [same, same * self.in_session[:, None]]
            if history:
                times = ((candidate[..., None] == past[:, None]) & (candidate > 0)[..., None]).sum(dim=2)
                share = times + _SHARE_PRIOR * shares[rows]
                found.append((share / (self.count + _SHARE_PRIOR)[:, None]).log())
        return found

    def numbers(self, rows: Tensor, *, last: bool, history: bool) -> list[Tensor]:
        """For each number: closeness to the last item's, in its session, and distance to the history's mean [B, C]."""
        found = []
        for numbers in self.tables.numbers.T:
            candidate, past = numbers[rows], numbers[self.rows]
            if last:
                close = (-(candidate - past[:, :1]).abs()).exp() * self.known[:, None]
                found += [close, close * self.in_session[:, None]]
            if history:
                mean = (past * self.weights).sum(dim=1, keepdim=True)
                found.append((candidate - mean).abs() * self.known[:, None])
        return found

    def content(self, rows: Tensor, *, last: bool, history: bool) -> list[Tensor]:
        """For each content vector: cosine to the last item's, in its session, and to the history's mean [B, C]."""
        if not self.tables.widths or not (last or history):
            return []
        content = self.tables.content
        parts = []
        if last:
            parts.append(content[self.rows[:, 0]] * self.known[:, None])
        if history:
            parts.append(torch.bmm(self.weights[:, None], content[self.rows]).squeeze(1))
        queries, of_items, found, start = torch.stack(parts, dim=1), content[rows], list[Tensor](), 0
        for width in self.tables.widths:
            part = slice(start, start + width)
            cosines = list(torch.matmul(of_items[..., part], queries[..., part].transpose(1, 2)).unbind(dim=2))
            found += [*cosines, cosines[0] * self.in_session[:, None]] if last else cosines
            start += width
        return found
