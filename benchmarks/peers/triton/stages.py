"""The fourteen models as functions over tensors, made of our stage classes and the parts of `per_model`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.peers.per_model.parts import ContextTransform, ItemTransform, UserInputTransform, fill_context
from benchmarks.peers.triton.shop import (
    OpenedShop,
    bytes_of,
    called,
    query_columns,
    query_features,
    request_batch,
    subjects_batch,
    texts_of,
    use_one_thread,
    without_fallbacks,
)
from benchmarks.peers.triton.spec import TEXTS
from contracts import columns as c
from contracts.encoded import EncodedColumns
from contracts.features import item_age_bucket
from contracts.ids import PAD_ROW, AnyArray, BoolArray, FloatArray, IntArray, LongArray
from contracts.messages import Candidates, Pairs
from contracts.user_records import UserRecords
from serving.placing.stage_table import open_user_lookup
from serving.stages.item_lookup import ItemLookup
from training.models.item_popularity import ItemPopularity

Outputs = dict[str, AnyArray]
Stage = Callable[..., Outputs]
"""Maps input arrays [B, …], in the order of the specification, to output arrays by name."""


def context_preprocessor(shop: OpenedShop) -> Stage:
    """Model 0: fills in what the client did not send."""

    def run(device_type: AnyArray, timestamp: LongArray) -> Outputs:
        batch = request_batch(shop, len(timestamp), context_time=timestamp[:, 0])
        now = np.full_like(timestamp, batch.now)
        return {"device": device_type, "time": fill_context(batch).context_time[:, None], "now": now}

    return run


def feast_user_lookup(shop: OpenedShop) -> Stage:
    """Model 1a: user features from Feast, and the history from Redis."""
    from serving.stages.history import HistoryBuilder

    lookup = open_user_lookup(shop.bundle, without_fallbacks(shop.config), shop.stores)
    build_history = HistoryBuilder.open(shop.bundle)

    def run(user_id: AnyArray, session_id: AnyArray) -> Outputs:
        batch = subjects_batch(shop, user_id, session_id)
        records = shop.runner.run(lookup(batch))
        history = build_history(batch, records.recent)
        unknown = {c.AGE: np.full(len(batch), np.nan), **dict.fromkeys(TEXTS, (None,) * len(batch))}
        told: dict[str, Any] = {**unknown, **records.columns}
        return {
            "known": records.known[:, None],
            "age": told[c.AGE][:, None],
            **{name: bytes_of(told[name]) for name in TEXTS},
            "history_rows": history.rows,
            "history_age_s": history.age_s,
            "history_same_session": history.same_session,
        }

    return run


def nvt_user_transform(shop: OpenedShop) -> Stage:
    """Model 1b: codes of the user's features and the age."""
    transform = UserInputTransform(shop.bundle)

    def run(user_id: AnyArray, known: BoolArray, age: AnyArray, *texts: AnyArray) -> Outputs:
        size = len(user_id)
        told: dict[str, Any] = {
            c.AGE: age[:, 0],
            **{name: tuple(texts_of(values)) for name, values in zip(TEXTS, texts, strict=True)},
        }
        records = replace(UserRecords.anonymous(size), known=known[:, 0], columns=told)
        columns = transform.columns(request_batch(shop, size, user_ids=tuple(texts_of(user_id))), records).columns
        return {"user_codes": columns.codes, "age_norm": columns.numbers}

    return run


def nvt_context_transform(shop: OpenedShop) -> Stage:
    """Model 1c: device code, hour and weekday."""
    transform = ContextTransform(shop.bundle.transforms)

    def run(device: AnyArray, time: LongArray) -> Outputs:
        told = {c.DEVICE_TYPE: tuple(texts_of(device))}
        columns = transform(request_batch(shop, len(time), context=told, context_time=time[:, 0])).columns
        return {"device_code": columns.codes, "time_waves": columns.numbers}

    return run


def query_tower(shop: OpenedShop) -> Stage:
    """Model 2."""
    from serving.stages.query_tower import QueryTower

    use_one_thread()
    tower = QueryTower.open(shop.bundle)

    def run(user: IntArray, age: FloatArray, device: IntArray, waves: FloatArray, *history: AnyArray) -> Outputs:
        return {"query": tower(query_features(shop, query_columns(shop, user, age, device, waves), history))}

    return run


def faiss_retrieval(shop: OpenedShop) -> Stage:
    """Model 3: the best eligible items; -1 where there are fewer."""
    from serving.stages.retrieval import Retrieval

    use_one_thread()
    size = shop.config.retrieval.retrieval_k
    retrieval = Retrieval.open(shop.bundle, shop.config.retrieval)

    def run(query: FloatArray, now: LongArray) -> Outputs:
        found = retrieval.search(now[:, 0], query)
        inside = np.arange(size) < found.lengths[:, None]
        rows = np.full(inside.shape, PAD_ROW, dtype=np.int32)
        scores = np.zeros(inside.shape, dtype=np.float32)
        rows[inside], scores[inside] = found.rows, found.scores
        return {"found": rows, "retrieval_score": scores}

    return run


def filter_seen_items(shop: OpenedShop) -> Stage:
    """Model 4: replaces items that the subject has seen by -1."""
    from serving.stages.seen_filter import seen_reader
    from serving.stores.seen import SeenStore

    stores = shop.stores
    store = SeenStore(stores)
    hashes = shop.bundle.array("bloom/hashes")
    read = seen_reader(store, shop.bundle.transforms.calendar, hashes)

    def run(user_id: AnyArray, session_id: AnyArray, now: LongArray, found: IntArray) -> Outputs:
        early: Any = shop.runner.run(called(read, subjects_batch(shop, user_id, session_id)))
        rows, owners = found.ravel(), np.repeat(np.arange(len(found)), found.shape[1])
        answers: Any = shop.runner.run(early.filters.about(hashes, rows, owners))
        seen = answers.seen(hashes[rows], owners).reshape(found.shape)
        return {"rows": np.where(seen, PAD_ROW, found).astype(np.int32)}

    return run


def feast_item_lookup(shop: OpenedShop) -> Stage:
    """Model 5a: columns of items from arrays in memory."""
    prices, launched_at = ItemLookup.open(shop.bundle).numbers(c.PRICE), shop.bundle.items.launched_at

    def run(rows: IntArray) -> Outputs:
        return {"price": prices[rows], "launched_at": launched_at[rows]}

    return run


def nvt_item_transform(shop: OpenedShop) -> Stage:
    """Model 5b: price and age as model inputs."""
    transform = ItemTransform(shop.bundle)

    def run(price: AnyArray, launched_at: LongArray, now: LongArray) -> Outputs:
        numbers = transform.numbers({c.PRICE: price.ravel()}, price.size)
        return {"price_log_norm": numbers.reshape(price.shape), "age_bucket": item_age_bucket(launched_at, now)}

    return run


def multimodal_embedding_lookup(shop: OpenedShop) -> Stage:
    """Model 5c: rows at which the ranker finds text and picture of an item."""

    def run(rows: IntArray) -> Outputs:
        return {"content_row": rows}

    return run


def unroll_features(shop: OpenedShop) -> Stage:
    """Model 6a: the query's side of the ranker's inputs, once for all candidates."""

    def run(*parts: AnyArray) -> Outputs:
        columns = query_columns(shop, *parts)
        return {"query_codes": columns.codes, "query_numbers": columns.numbers}

    return run


def dlrm_ranking(shop: OpenedShop) -> Stage:
    """Model 6b: our scorer on the remaining candidates."""
    from serving.stages.torch_scorer import TorchScorer

    use_one_thread()
    scorer, popularity = TorchScorer.open(shop.bundle), ItemPopularity.open(shop.bundle)

    def run(codes: IntArray, numbers: FloatArray, *others: AnyArray) -> Outputs:
        *history, rows, retrieval_score, age_bucket, _price = others
        kept = rows != PAD_ROW
        owners = np.repeat(np.arange(len(rows)), kept.sum(axis=1))
        queries = query_features(shop, EncodedColumns(shop.bundle.schema.digest, codes, numbers), history)
        logits = np.full(rows.shape, -np.inf, dtype=np.float32)
        counted = None if popularity is None else popularity.of(rows[kept], owners, queries.now)
        logits[kept] = scorer(queries, Pairs(owners, rows[kept], retrieval_score[kept], age_bucket[kept], counted))
        return {"logit": logits}

    return run


def softmax_sampling(shop: OpenedShop) -> Stage:
    """Model 6c: our greedy order and cut."""
    from serving.stages.reranking import Reranking

    rerank = Reranking.open(shop.bundle)

    def run(rows: IntArray, logit: FloatArray, k: IntArray) -> Outputs:
        kept = rows != PAD_ROW
        lengths = kept.sum(axis=1).astype(np.int32)
        top = rerank(Candidates(shop.bundle.version, rows[kept], logit[kept], lengths), k[:, 0].astype(np.int32)).items
        shape = (len(rows), -1)  # requests of one call have one k
        return {"top": top.rows.reshape(shape), "score": top.scores.reshape(shape)}

    return run


def item_id_decoder(shop: OpenedShop) -> Stage:
    """Model 7: raw ids."""
    names = np.array([str(name).encode() for name in shop.bundle.strings("items/item_id")], dtype=object)

    def run(top: IntArray) -> Outputs:
        return {"item_id": names[top]}

    return run


OPENERS: dict[str, Callable[[OpenedShop], Stage]] = {
    opener.__name__: opener
    for opener in (
        *(context_preprocessor, feast_user_lookup, nvt_user_transform, nvt_context_transform, query_tower),
        *(faiss_retrieval, filter_seen_items, feast_item_lookup, nvt_item_transform, multimodal_embedding_lookup),
        *(unroll_features, dlrm_ranking, softmax_sampling, item_id_decoder),
    )
}
