"""Files of an artifact bundle.

Arrays are .npy files that the replicas of a machine map and share. Nothing is pickled:

    manifest.json, manifest.sha256 (of manifest.json), schema.json, transforms.json, vocabularies/
    items/   codes [I, C] int32 · numbers [I, F] float32 · lists/<feature> [I, L] int32 · vectors/<feature> [I, D]
             has_text, has_image [I] bool · launched_at [I] int64 (0 = always there) · withdrawn [I] bool
             item_id, title, description, category_l1, category_l2, gender, image_path: string columns
    values/  raw values for filters and answers, see `contracts.item_values`
    two_tower/ config.json · weights.safetensors · encoded_id [I] int32 · candidate [I, E] float32
    ranker/    config.json · weights.safetensors · encoded_id [I] int32
               popularity [D, I] float32, from the first test day to the day after the data, if the ranker reads it
    index/     faiss.index (flat: searched exactly)
    pca/       text.safetensors · image.safetensors
    bloom/     hashes [I, 2] uint64
    popularity/ global [n] int32 · by_category.json {column: {category: [ItemRow]}}; best first
    reference_stats.json
"""

from __future__ import annotations

from typing import Final

from contracts.feature import Side
from contracts.item_values import value_arrays
from contracts.schema import FeatureSchema
from contracts.transforms import SCHEMA, TRANSFORMS

INDEX: Final = "index/faiss.index"
STRING_COLUMNS: Final = ("item_id", "title", "description", "category_l1", "category_l2", "gender", "image_path")
_PER_ITEM: Final = {
    "items/codes": ("int32", 2),
    "items/numbers": ("float32", 2),
    "items/has_text": ("bool", 1),
    "items/has_image": ("bool", 1),
    "items/launched_at": ("int64", 1),
    "items/withdrawn": ("bool", 1),
    "two_tower/encoded_id": ("int32", 1),
    "two_tower/candidate": ("float32", 2),
    "ranker/encoded_id": ("int32", 1),
    "bloom/hashes": ("uint64", 2),
}
"""Type and number of dimensions of the arrays by ItemRow that every bundle has; the schema adds more."""
POPULAR: Final = "popularity/global"
POPULARITY: Final = "ranker/popularity"
VALUES: Final = "values"
MODELS: Final = ("two_tower", "ranker")
NEEDED: Final = (
    SCHEMA,
    TRANSFORMS,
    INDEX,
    f"{POPULAR}.npy",
    *(f"{model}/{name}" for model in MODELS for name in ("config.json", "weights.safetensors")),
    *(f"{name}.npy" for name in _PER_ITEM),
    *(f"items/{name}.{part}.npy" for name in STRING_COLUMNS for part in ("offsets", "data")),
)
"""Files that every bundle must have."""


def per_item_arrays(schema: FeatureSchema) -> dict[str, tuple[str, int]]:
    """Type and number of dimensions of all arrays by ItemRow of a bundle with this schema."""
    layout = schema.layout(Side.ITEM)
    arrays = _PER_ITEM | {f"items/lists/{name}": ("int32", 2) for name in layout.lists}
    arrays |= {f"items/vectors/{name}": ("float32", 2) for name in layout.vectors}
    return arrays | {f"{VALUES}/{name}": (dtype, ndim) for name, dtype, ndim in value_arrays(schema.shown)}
