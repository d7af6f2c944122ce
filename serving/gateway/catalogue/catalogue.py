"""Items as clients see them: hydrated recommendations, catalogue pages and pictures."""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from contracts import columns as c
from contracts.bundle import Bundle
from contracts.errors import NotFoundError, RequestError
from contracts.ids import BoolArray, LongArray
from contracts.item_values import Categories
from contracts.pictures import local_picture
from recommender_api.answers import Attributes, Item, ItemExplanation, ItemPage, Recommendation, SimilarItems
from recommender_api.operations import picture_path
from recommender_api.requests import ItemQuery
from serving.gateway.catalogue.browser import Deadline
from serving.gateway.shop.filters import check_filters, legal_filters
from serving.stages.eligibility import Eligibility
from serving.stages.item_lookup import ItemLookup
from serving.stages.similar import Neighbours

_CACHED_ITEMS = 100_000
_CHUNK: Final = 50_000
"""Titles that are searched between two checks of the deadline."""
MAX_WORDS: Final = 8
_OWN_FIELDS: Final = (c.CATEGORY_L1, c.CATEGORY_L2, c.GENDER, c.PRICE)
Card = tuple[str, str | None, str | None, str | None, str | None, float | None, str | None, Attributes]


class Catalogue:
    """Metadata of a bundle's items.

    Reference model: 7 item_id_decoder
    Input: ItemRows of the final lists
    Output: raw item ids
    Artifacts: `items/item_id`, mapped
    Failure: none once opened: no other machine is involved
    Cadence: each bundle

    Args:
        bundle: an opened bundle.
        raw_dir: folder of relative picture paths; None = the one that the bundle names.
    """

    def __init__(self, bundle: Bundle, raw_dir: Path | None = None) -> None:
        self._bundle = bundle
        self._raw_dir = (raw_dir or Path(bundle.manifest.raw_dir)).resolve()
        self._columns = {
            name: bundle.strings(f"items/{name}")
            for name in (c.ITEM_ID, c.TITLE, c.DESCRIPTION, c.CATEGORY_L1, c.CATEGORY_L2, c.GENDER, c.IMAGE_PATH)
        }
        titles = self._columns[c.TITLE]  # as an Arrow array on the same memory, in which null is a zero byte
        self._titles = pa.LargeStringArray.from_buffers(
            len(titles), pa.py_buffer(titles.offsets), pa.py_buffer(titles.data)
        )
        self._items = ItemLookup.open(bundle)
        self._price = self._items.numbers(c.PRICE)
        answered = (feature.column_name for feature in bundle.schema.shown if feature.answer)
        self._attributes = [name for name in answered if name not in _OWN_FIELDS]
        self._legal = legal_filters(bundle)
        self._has_image = bundle.array("items/has_image")
        self._eligibility = Eligibility.open(bundle)
        self._similar = Neighbours.open(bundle)
        self._card = lru_cache(maxsize=_CACHED_ITEMS)(self._read_card)

    def recommendation(
        self, rank: int, row: int, score: float, explanation: ItemExplanation | None = None
    ) -> Recommendation:
        """A ranked item with its metadata."""
        item_id, title, category_l1, category_l2, gender, price, image_url, attributes = self._card(row)
        return Recommendation(
            rank, item_id, score, title, category_l1, category_l2, gender, price, image_url, explanation, attributes
        )

    def item(self, item_id: str, now: int) -> Item:
        """One item.

        Raises:
            NotFoundError: the catalogue lacks it.
        """
        return self._item(self._row(item_id), now)

    def page(self, query: ItemQuery, now: int, deadline: Deadline) -> ItemPage:
        """A page of the available items that match a query; scans the whole catalogue.

        Raises:
            RequestError: the text has too many words, or the shop has no such filter.
            SlowBrowseError: the deadline has passed.
        """
        words = set((query.text or "").split())
        if len(words) > MAX_WORDS:
            raise RequestError(f"text has {len(words)} different words, at most {MAX_WORDS} are looked for")
        rows = np.flatnonzero(self._wanted(query, now)).astype(np.int64)
        if words:
            parts = [
                self._containing(rows[start : start + _CHUNK], words) for start in deadline.steps(len(rows), _CHUNK)
            ]
            rows = np.concatenate([rows[:0], *parts])
        shown = rows[query.offset : query.offset + query.limit]
        return ItemPage(len(rows), query.offset, query.limit, [self._item(int(row), now) for row in shown])

    def _wanted(self, query: ItemQuery, now: int) -> BoolArray:
        mask = self._eligibility.at(now).copy()
        categories = {c.CATEGORY_L1: query.category_l1, c.CATEGORY_L2: query.category_l2}
        named = {column: name for column, name in categories.items() if name is not None}
        prices = (query.min_price, query.max_price) != (None, None)
        check_filters((*named, c.PRICE) if prices else named, self._legal)
        for column, name in named.items():
            values = self._items.values[column]
            assert isinstance(values, Categories)
            code = values.vocabulary.encode_one(name)
            mask &= (values.codes == code) & (code > 0)
        if query.min_price is not None:
            mask &= self._price >= query.min_price
        if query.max_price is not None:
            mask &= self._price <= query.max_price
        return mask

    def _containing(self, rows: LongArray, words: Collection[str]) -> LongArray:
        """Those of the rows whose titles contain all words; each word narrows the rows for the next."""
        for word in sorted(words, key=len, reverse=True):
            titles = self._titles.take(pa.array(rows))
            rows = rows[pc.match_substring(titles, word, ignore_case=True).to_numpy(zero_copy_only=False)]
        return rows

    def similar(self, item_id: str, k: int, now: int, deadline: Deadline) -> SimilarItems:
        """The available items nearest to an item.

        Raises:
            NotFoundError: the catalogue lacks it.
            SlowBrowseError: the deadline has passed.
        """
        deadline.check()
        rows, scores = self._similar(self._row(item_id), k, now)
        items = [
            self.recommendation(rank, row, score)
            for rank, (row, score) in enumerate(zip(rows.tolist(), scores.tolist(), strict=True), start=1)
        ]
        return SimilarItems(item_id, self._bundle.version, items)

    def picture(self, item_id: str) -> tuple[Path, str]:
        """File and media type of an item's picture.

        Raises:
            NotFoundError: no such item, or it has no picture.
        """
        row = self._row(item_id)
        if self._columns[c.IMAGE_PATH][row] is None:
            raise NotFoundError(f"item {item_id!r} has no picture")
        found = self._picture(row)
        if found is None:
            raise NotFoundError(f"the picture of item {item_id!r} is not there")
        return found

    def _picture(self, row: int) -> tuple[Path, str] | None:
        """File and media type of a picture that was encoded and still exists; else None."""
        location = self._columns[c.IMAGE_PATH][row]
        return local_picture(self._raw_dir, location) if location is not None and self._has_image[row] else None

    def _row(self, item_id: str) -> int:
        row = self._bundle.item_rows.get(item_id)
        if row is None:
            raise NotFoundError(f"no item {item_id!r} in the catalogue")
        return row

    def _item(self, row: int, now: int) -> Item:
        item_id, title, category_l1, category_l2, gender, price, image_url, attributes = self._card(row)
        launched_at = int(self._bundle.items.launched_at[row])
        return Item(
            item_id=item_id,
            title=title,
            description=self._columns[c.DESCRIPTION][row],
            category_l1=category_l1,
            category_l2=category_l2,
            gender=gender,
            price=price,
            image_url=image_url,
            launched_at=launched_at or None,
            available=bool(self._eligibility.at(now)[row]),
            attributes=attributes,
        )

    def _read_card(self, row: int) -> Card:
        item_id = str(self._columns[c.ITEM_ID][row])
        title, l1, l2, gender = (self._columns[name][row] for name in (c.TITLE, c.CATEGORY_L1, c.CATEGORY_L2, c.GENDER))
        price = float(self._price[row])
        image_url = None if self._picture(row) is None else picture_path(item_id)
        shown = {name: self._attribute(name, row) for name in self._attributes}
        attributes = {name: value for name, value in shown.items() if value not in (None, [])}
        return item_id, title, l1, l2, gender, None if np.isnan(price) else price, image_url, attributes

    def _attribute(self, column: str, row: int) -> str | float | list[str] | None:
        """The raw value of an item in a declared column; None or an empty list if it has none."""
        values = self._items.values[column]
        if isinstance(values, Categories):
            return values.of_item(row)
        number = float(values[row])
        return None if np.isnan(number) else number
