"""User transform: raw user features to codes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from contracts import columns as c
from contracts.ids import IntArray
from contracts.messages import RequestBatch
from contracts.transforms import FittedTransforms
from serving.stages.user_lookup import UserRecords


@dataclass(frozen=True)
class UserCodes:
    """Encoded ids [B] of the user's categorical features."""

    user: IntArray
    gender: IntArray
    top_category: IntArray
    top_category_long: IntArray


class UserTransform:
    """Encodes user features; a user whom the store does not know is out of vocabulary, whatever the id.

    Reference model: 1b nvt_user_transform
    Input: records of users, recent items of the request
    Output: codes of user, gender and top categories; age and history join them in the query features
    Artifacts: vocabularies, means and spreads
    Failure: with the query features: nobody is known, `query_features` in `degraded`
    Cadence: fitted at a full build
    """

    def __init__(self, transforms: FittedTransforms) -> None:
        self._transforms = transforms

    def __call__(self, batch: RequestBatch, records: UserRecords) -> UserCodes:
        """Codes of the batch's users."""
        encode = self._transforms.encode
        return UserCodes(
            user=np.where(records.known, encode(c.USER_ID, batch.user_ids), 0).astype(np.int32),
            gender=encode(c.GENDER, records.genders),
            top_category=encode(c.TOP_CATEGORY, records.top_category),
            top_category_long=encode(c.TOP_CATEGORY_LONG, records.top_category_long),
        )
