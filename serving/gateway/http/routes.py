"""Routes: from a call to an operation of the API, a page of its description, or an error."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, NamedTuple, NoReturn

from contracts.errors import MethodError, NotFoundError, RequestError
from recommender_api.operations import OPEN, ByMethod, Needed, Operation, decode_id, operations_at

OPENAPI: Final = "/openapi.json"
"""Path of the description for programs."""
DOCS: Final = "/docs"
"""Path of the description for people."""
ASSETS: Final = f"{DOCS}/assets"
"""Folder of what the page for people loads."""


class Route(NamedTuple):
    """The target of a call.

    Attributes:
        operation: of the API; None = no operation.
        encoded_ids: in its path, by name, still percent-encoded.
        permission: needed for the call; `admin` if it is neither an operation nor a page.
        is_page: whether the path is a page of the description.
        there: the operations of the path by method.
    """

    operation: Operation[object] | None
    encoded_ids: dict[str, str]
    permission: Needed
    is_page: bool
    there: ByMethod

    @property
    def template(self) -> str | None:
        """The template of the path; None if the API has no such path."""
        return next((one.path for one in self.there.values()), None)

    def ids(self) -> dict[str, str]:
        """The ids in the path by name.

        Raises:
            RequestError: an id is not valid.
        """
        try:
            return {name: decode_id(encoded) for name, encoded in self.encoded_ids.items()}
        except ValueError as error:
            raise RequestError(str(error)) from None

    def refuse(self, method: str, path: str) -> NoReturn:
        """Raises the error for a call without operation.

        Raises:
            MethodError: the path has other methods.
            NotFoundError: the path does not exist.
        """
        raise no_operation(method, path, {*self.there, *({"HEAD"} if "GET" in self.there else ())})


def no_operation(method: str, path: str, allowed: Collection[str]) -> NotFoundError | MethodError:
    """The error of a path that does not exist, or has only the `allowed` methods."""
    if not allowed:
        return NotFoundError(f"no path {path!r}; see {DOCS} for those that exist")
    return MethodError(f"{method} {path} does not exist, use {', '.join(sorted(allowed))}", allowed=sorted(allowed))


def find_route(method: str, path: str) -> Route:
    """The target of a call to a percent-encoded path."""
    there, encoded_ids = operations_at(path)
    wanted = "GET" if method == "HEAD" else method
    operation = there.get(wanted)
    if operation is not None:
        return Route(operation, encoded_ids, operation.permission, False, there)
    is_page = not there and (path in {OPENAPI, DOCS} or path.startswith(f"{ASSETS}/"))
    return Route(None, encoded_ids, OPEN if is_page and wanted == "GET" else "admin", is_page, there)
