"""All operations of the API. Routes, access, OpenAPI, labels of metrics and the client derive from them.

A path is split at its slashes first; then the parts are percent-decoded. So `%2F` belongs to an id, `/` does not.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Generic, Literal, TypeVar, get_args
from urllib.parse import quote, unquote_to_bytes

from msgspec import Struct

from recommender_api.answers import (
    Item,
    ItemPage,
    Picture,
    RankingResponse,
    Ready,
    RecommendationResponse,
    SimilarItems,
    Status,
)
from recommender_api.interactions import ErasedUser, FlushedSeen, Interactions, InteractionsResponse, UserData
from recommender_api.requests import ItemQuery, RankingRequest, RecommendationRequest, SimilarQuery, Visit

Permission = Literal["recommend", "write_events", "personal_data", "admin"]
Needed = Permission | Literal["open"]
OPEN: Final = "open"
"""Operations that need no permission under any settings."""
_NEEDED: Final = frozenset({OPEN, *get_args(Permission)})
_ID: Final = re.compile(r"\{(\w+)\}")
_BROKEN_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_AnswerT_co = TypeVar("_AnswerT_co", covariant=True)


@dataclass(frozen=True, kw_only=True)
class Operation(Generic[_AnswerT_co]):
    """One operation.

    Attributes:
        name: of the client's method and of the endpoint.
        method: HTTP method.
        path: a template; `{…}` is an id between two slashes.
        permission: needed for a call.
        request: type of the JSON body, or of the query of a GET; None = neither.
        answer: type of the answer.
        statuses: of success first, then of errors other than refused access.
        summary: short description.
        hot: whether calls are so frequent that Serve does not watch them.

    Raises:
        ValueError: the permission does not exist.
    """

    name: str
    method: Literal["GET", "POST", "DELETE"]
    path: str
    permission: Needed
    request: object = None
    answer: type[_AnswerT_co]
    statuses: tuple[int, ...]
    summary: str
    hot: bool = False

    def __post_init__(self) -> None:
        if self.permission not in _NEEDED:
            raise ValueError(f"{self.name} has the permission {self.permission!r}; expected {sorted(_NEEDED)}")

    @property
    def has_budget(self) -> bool:
        """Whether a request may set its time budget."""
        return isinstance(self.request, type) and issubclass(self.request, Visit)

    @property
    def query(self) -> type[Struct] | None:
        """Type of the query of a GET; None = there is none."""
        if self.method != "GET" or not isinstance(self.request, type) or not issubclass(self.request, Struct):
            return None
        return self.request

    @property
    def ids(self) -> list[str]:
        """Names of the ids in the path."""
        return _ID.findall(self.path)


_USER: Final = "/v1/users/{user_id}"
_ITEM: Final = "/v1/items/{item_id}"
_POSTED: Final = (400, 405, 413, 415, 422, 429, 503)
_PERSONAL: Final = (200, 405, 422, 503)

RECOMMEND: Final = Operation(
    name="recommend",
    method="POST",
    path="/v1/recommendations",
    permission="recommend",
    request=RecommendationRequest,
    answer=RecommendationResponse,
    statuses=(200, *_POSTED),
    summary="Ranked items for a visitor",
    hot=True,
)
RANK: Final = Operation(
    name="rank",
    method="POST",
    path="/v1/rankings",
    permission="recommend",
    request=RankingRequest,
    answer=RankingResponse,
    statuses=(200, *_POSTED),
    summary="Provided items, scored and ranked for a visitor",
)
RECORD: Final = Operation(
    name="record",
    method="POST",
    path="/v1/interactions",
    permission="write_events",
    request=Interactions,
    answer=InteractionsResponse,
    statuses=(202, *_POSTED),
    summary="Records events; accepted events are durable",
    hot=True,
)
FLUSH_SEEN: Final = Operation(
    name="flush_seen",
    method="DELETE",
    path=_USER + "/seen",
    permission="personal_data",
    answer=FlushedSeen,
    statuses=_PERSONAL,
    summary="Empties the seen filter of a user",
)
ERASE_USER: Final = Operation(
    name="erase_user",
    method="DELETE",
    path=_USER,
    permission="personal_data",
    answer=ErasedUser,
    statuses=_PERSONAL,
    summary="Erases a user permanently",
)
USER_DATA: Final = Operation(
    name="user_data",
    method="GET",
    path=_USER + "/data",
    permission="personal_data",
    answer=UserData,
    statuses=_PERSONAL,
    summary="What is stored about the user",
)
ITEMS: Final = Operation(
    name="items",
    method="GET",
    path="/v1/items",
    permission="recommend",
    request=ItemQuery,
    answer=ItemPage,
    statuses=(200, 405, 422),
    summary="A page of the catalogue",
)
ITEM: Final = Operation(
    name="item",
    method="GET",
    path=_ITEM,
    permission="recommend",
    answer=Item,
    statuses=(200, 404, 405, 422),
    summary="One item",
)
SIMILAR: Final = Operation(
    name="similar",
    method="GET",
    path=_ITEM + "/similar",
    permission="recommend",
    request=SimilarQuery,
    answer=SimilarItems,
    statuses=(200, 404, 405, 422),
    summary="Items similar to an item",
)
PICTURE: Final = Operation(
    name="picture",
    method="GET",
    path=_ITEM + "/image",
    permission=OPEN,  # pages show pictures without a header
    answer=Picture,
    statuses=(200, 404, 405, 422),
    summary="An item's picture",
)
STATUS: Final = Operation(
    name="status",
    method="GET",
    path="/v1/status",
    permission="recommend",
    answer=Status,
    statuses=(200, 405),
    summary="Bundle, placement, stores and degraded parts",
)
READY: Final = Operation(
    name="ready",
    method="GET",
    path="/v1/ready",
    permission=OPEN,
    answer=Ready,
    statuses=(200, 405, 503),
    summary="Whether the service is warmed up",
)
OPERATIONS: Final[tuple[Operation[object], ...]] = (
    *(RECOMMEND, RANK, RECORD, FLUSH_SEEN, ERASE_USER, USER_DATA, ITEMS, ITEM, SIMILAR, PICTURE, STATUS, READY),
)

ByMethod = Mapping[str, Operation[object]]


def _by_path() -> dict[str, dict[str, Operation[object]]]:
    found: defaultdict[str, dict[str, Operation[object]]] = defaultdict(dict)
    for operation in OPERATIONS:
        found[operation.path][operation.method] = operation
    return dict(found)


_BY_PATH: Final = _by_path()
_WITH_IDS: Final = tuple(
    (re.compile(_ID.sub(r"(?P<\1>[^/]*)", path)), found) for path, found in _BY_PATH.items() if _ID.search(path)
)
_NOTHING: Final[dict[str, Operation[object]]] = {}


def operations_at(path: str) -> tuple[ByMethod, dict[str, str]]:
    """Operations of a percent-encoded path by method, empty for unknown paths, and its ids, still encoded."""
    if (found := _BY_PATH.get(path)) is not None:
        return found, {}
    for pattern, found in _WITH_IDS:
        if match := pattern.fullmatch(path):
            return found, match.groupdict()
    return _NOTHING, {}


def encode_id(raw_id: str) -> str:
    """Percent-encodes an id for a path, including `.` and `..`.

    Raises:
        UnicodeEncodeError: the id holds a lone surrogate, which addresses cannot hold.
    """
    return raw_id.replace(".", "%2E") if raw_id in {".", ".."} else quote(raw_id, safe="")


def picture_path(item_id: str) -> str:
    """Path of an item's picture."""
    return PICTURE.path.format(item_id=encode_id(item_id))


def decode_id(encoded: str) -> str:
    """Decodes an id of a path. Illegal ids are decoded as well, so that any stored id can be exported and erased.

    Raises:
        ValueError: the id is empty, or its escapes are broken or not UTF-8.
    """
    if not encoded:
        raise ValueError("the path holds an empty id; expected at least one character between the slashes")
    if broken := _BROKEN_ESCAPE.search(encoded):
        raise ValueError(
            f"the path holds {encoded[broken.start() :][:3]!r}, which is not an escape; expected % and two hex digits, "
            "%25 for the sign itself"
        )
    try:
        return unquote_to_bytes(encoded).decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"the escapes in the path are not UTF-8: {error.reason} at byte {error.start}") from None
