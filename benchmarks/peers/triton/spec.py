"""The fourteen models of the ensemble and their tensors. It imports nothing else, because both interpreters read it.

Every tensor has a leading dimension of requests, which is not listed. Item features stay with the ranker and only
ItemRows are sent, as in our own pipeline: this is faster than sending features.
"""

from __future__ import annotations

from dataclasses import dataclass

Tensors = dict[str, tuple[str, tuple[int, ...]]]
"""Triton's data type and dimensions, by name; -1 is any size."""


@dataclass(frozen=True)
class Model:
    """A model's inputs and outputs.

    Attributes:
        inputs: names of tensors that requests or other models give.
        outputs: names of its output tensors.
    """

    inputs: tuple[str, ...]
    outputs: Tensors


REQUEST: Tensors = {
    "user_id": ("BYTES", (1,)),
    "session_id": ("BYTES", (1,)),
    "device_type": ("BYTES", (1,)),
    "timestamp": ("INT64", (1,)),
    "k": ("INT32", (1,)),
}
ANSWER = ("item_id", "score")
ENSEMBLE = "recommender"
_HISTORY = ("history_rows", "history_age_s", "history_same_session")
TEXTS = ("gender", "top_category", "top_category_long")
_USER = ("known", "age", *TEXTS)


def fourteen_models(history_length: int, retrieval_k: int, embedding_dim: int) -> dict[str, Model]:
    """The ensemble in its order, for the sizes of a bundle."""
    n, m = (history_length,), (retrieval_k,)
    one = (1,)
    lookup: Tensors = {"known": ("BOOL", one), "age": ("FP64", one)}
    lookup |= dict.fromkeys(TEXTS, ("BYTES", one))
    lookup |= dict(zip(_HISTORY, (("INT32", n), ("FP32", n), ("BOOL", n)), strict=True))
    return {
        "context_preprocessor": Model(
            ("device_type", "timestamp"), {"device": ("BYTES", one), "time": ("INT64", one), "now": ("INT64", one)}
        ),
        "feast_user_lookup": Model(("user_id", "session_id"), lookup),
        "nvt_user_transform": Model(("user_id", *_USER), {"user_codes": ("INT32", (5,)), "age_norm": ("FP32", one)}),
        "nvt_context_transform": Model(
            ("device", "time"), {"device_code": ("INT32", one), "time_waves": ("FP32", (4,))}
        ),
        "query_tower": Model(
            ("user_codes", "age_norm", "device_code", "time_waves", *_HISTORY), {"query": ("FP32", (embedding_dim,))}
        ),
        "faiss_retrieval": Model(("query", "now"), {"found": ("INT32", m), "retrieval_score": ("FP32", m)}),
        "filter_seen_items": Model(("user_id", "session_id", "now", "found"), {"rows": ("INT32", m)}),
        "feast_item_lookup": Model(("rows",), {"price": ("FP64", m), "launched_at": ("INT64", m)}),
        "nvt_item_transform": Model(
            ("price", "launched_at", "now"), {"price_log_norm": ("FP32", m), "age_bucket": ("INT32", m)}
        ),
        "multimodal_embedding_lookup": Model(("rows",), {"content_row": ("INT32", m)}),
        "unroll_features": Model(
            ("user_codes", "age_norm", "device_code", "time_waves"),
            {"query_codes": ("INT32", (6,)), "query_numbers": ("FP32", (5,))},
        ),
        "dlrm_ranking": Model(
            (
                *("query_codes", "query_numbers", *_HISTORY),
                *("content_row", "retrieval_score", "age_bucket", "price_log_norm"),
            ),
            {"logit": ("FP32", m)},
        ),
        "softmax_sampling": Model(("rows", "logit", "k"), {"top": ("INT32", (-1,)), "score": ("FP32", (-1,))}),
        "item_id_decoder": Model(("top",), {"item_id": ("BYTES", (-1,))}),
    }
