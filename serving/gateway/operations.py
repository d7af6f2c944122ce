"""Every operation of the API, once: its method, its path, and the permission that it needs.

A path is split at its slashes while it is still percent-encoded, and what lies between two of them is decoded
afterwards: `%2F` belongs to an id, `/` does not. Access, routes, the API's description and the client read this table.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import quote, unquote_to_bytes

Permission = Literal["recommend", "write_events", "personal_data", "admin"]
OPEN: Final = "open"
"""What everybody may call, whatever the settings."""
RECOMMENDATIONS_PATH: Final = "/v1/recommendations"
INTERACTIONS_PATH: Final = "/v1/interactions"
_USER: Final = "/v1/users/{user_id}"
_ITEM: Final = "/v1/items/{item_id}"
_ID: Final = re.compile(r"\{(\w+)\}")
_BROKEN_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_PAGES: Final = re.compile(r"/docs|/docs/assets/.*|/openapi\.json")


class Operation(NamedTuple):
    """One operation.

    Attributes:
        name: of the clients' method.
        method: of HTTP.
        path: a template; `{…}` is an id between two slashes.
        permission: that a call needs.
    """

    name: str
    method: Literal["GET", "POST", "DELETE"]
    path: str
    permission: Permission | Literal["open"]


OPERATIONS: Final = (
    Operation("recommend", "POST", RECOMMENDATIONS_PATH, "recommend"),
    Operation("rank", "POST", "/v1/rankings", "recommend"),
    Operation("record", "POST", INTERACTIONS_PATH, "write_events"),
    Operation("flush_seen", "DELETE", _USER + "/seen", "personal_data"),
    Operation("erase_user", "DELETE", _USER, "personal_data"),
    Operation("user_data", "GET", _USER + "/data", "personal_data"),
    Operation("items", "GET", "/v1/items", "recommend"),
    Operation("item", "GET", _ITEM, "recommend"),
    Operation("similar", "GET", _ITEM + "/similar", "recommend"),
    Operation("picture", "GET", _ITEM + "/image", OPEN),  # pages show pictures without a header
    Operation("status", "GET", "/v1/status", "recommend"),
    Operation("ready", "GET", "/v1/ready", OPEN),
)
_PATHS: Final = tuple((one, re.compile(_ID.sub("[^/]*", one.path))) for one in OPERATIONS)
_PICTURE: Final = next(one.path for one in OPERATIONS if one.name == "picture")


def permission_for(method: str, path: str) -> Permission | Literal["open"]:
    """The permission that a call needs, by its percent-encoded path; what is no operation is for administrators."""
    method = "GET" if method == "HEAD" else method
    if method == "GET" and _PAGES.fullmatch(path):
        return OPEN
    return next((one.permission for one, paths in _PATHS if one.method == method and paths.fullmatch(path)), "admin")


def path_of(scope: Mapping[str, Any]) -> str:
    """The path of an ASGI request below where the application is mounted, percent-encoded as it was sent."""
    raw = scope.get("raw_path")
    path = quote(scope["path"]) if raw is None else raw.decode("latin-1")
    return str(path.removeprefix(scope.get("root_path", "")))


def encode_id(raw_id: str) -> str:
    """An id as it is written in a path; the two names that programs take for folders are encoded as well.

    Raises:
        UnicodeEncodeError: a lone surrogate, which no address can hold.
    """
    return raw_id.replace(".", "%2E") if raw_id in {".", ".."} else quote(raw_id, safe="")


def picture_path(item_id: str) -> str:
    """Where the picture of an item is."""
    return _PICTURE.format(item_id=encode_id(item_id))


def decode_id(encoded: str) -> str:
    """The id that a path holds, of any form: whatever was accepted once can be asked about and erased.

    Raises:
        ValueError: it is empty, its escapes are broken, or they are no UTF-8.
    """
    if not encoded:
        raise ValueError("the path holds an empty id; expected at least one character between the slashes")
    if broken := _BROKEN_ESCAPE.search(encoded):
        raise ValueError(
            f"the path holds {encoded[broken.start() :][:3]!r}, which is no escape; expected % and two hex digits, "
            "%25 for the sign itself"
        )
    try:
        return unquote_to_bytes(encoded).decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"the escapes in the path are no UTF-8: {error.reason} at byte {error.start}") from None
