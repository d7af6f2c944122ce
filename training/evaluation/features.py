"""The features that the models read, for the report."""

from __future__ import annotations

import json
from typing import TypedDict

from training.features.processed import REPORT, Processed


class FeatureRow(TypedDict):
    """One feature.

    Attributes:
        ids: rows of its embedding table; null where it has none.
        left_out: occurrences of categories that got no id.
    """

    name: str
    side: str
    column: str
    kind: str
    ids: int | None
    left_out: int


def feature_rows(processed: Processed) -> list[FeatureRow]:
    """The features of a processed run, in the order of the models' inputs."""
    transforms, path = processed.transforms, processed.path / REPORT
    told = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    left_out = told.get("out_of_vocabulary", {})
    return [
        FeatureRow(
            name=one.name,
            side=one.side,
            column=f"{one.origin}.{one.column_name}",
            kind=one.kind,
            ids=transforms.cardinality(one.name) if one.codes or one.vocabulary is not None else None,
            left_out=int(left_out.get(one.name, 0)),
        )
        for one in transforms.schema.features
    ]
