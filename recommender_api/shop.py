"""Types of requests and events with the columns that a shop declares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from types import GenericAlias
from typing import Annotated, Literal, TypeVar, cast

import msgspec
from msgspec import Meta, Struct

from recommender_api.interactions import MAX_EVENTS, InteractionEvent
from recommender_api.requests import (
    MAX_CONTEXT,
    MAX_NAMES,
    Filters,
    Id,
    NumberRange,
    RankingRequest,
    RecommendationRequest,
)
from recommender_api.values import MAX_NUMBER

_Category = Id | Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | bool
_Number = Annotated[float, Meta(ge=-MAX_NUMBER, le=MAX_NUMBER)]
_Categories = Annotated[list[_Category], Meta(min_length=1, max_length=MAX_NAMES)]
_StructT = TypeVar("_StructT", bound=Struct)


@dataclass(frozen=True)
class ShopColumn:
    """A column that a shop declares.

    Attributes:
        name: of the column.
        kind: of its values.
        length: of a vector, else 0.
    """

    name: str
    kind: Literal["category", "categories", "number", "vector"]
    length: int = 0


@dataclass(frozen=True)
class ShopTypes:
    """The types of a shop.

    Args:
        context: context columns other than `device_type`.
        filters: item columns that requests may filter by; those that `Filters` has are ignored.
    """

    context: Sequence[ShopColumn] = ()
    filters: Sequence[ShopColumn] = ()

    @cached_property
    def recommendation(self) -> type[RecommendationRequest]:
        """Type of a request for recommendations."""
        return self._with_columns(RecommendationRequest, filters=self.filters_struct)

    @cached_property
    def ranking(self) -> type[RankingRequest]:
        """Type of a request to rank items."""
        return self._with_columns(RankingRequest, filters=self.filters_struct)

    @cached_property
    def event(self) -> type[InteractionEvent]:
        """Type of an event."""
        return self._with_columns(InteractionEvent)

    @cached_property
    def events(self) -> object:
        """Type of a list of events or one event."""
        several = GenericAlias(list, (self.event,))
        return Annotated[several, Meta(min_length=1, max_length=MAX_EVENTS)] | self.event

    @cached_property
    def context_struct(self) -> type[Struct]:
        """Type of the context."""
        fields = [(column.name, _context_type(column), None) for column in self.context]
        return _struct("Context", fields, Struct, "Values of the declared context columns; missing = unknown.")

    @cached_property
    def filters_struct(self) -> type[Filters]:
        """Type of the filters."""
        own = (column for column in self.filters if column.name not in Filters.__struct_fields__)
        fields = [(one.name, (NumberRange if one.kind == "number" else _Categories) | None, None) for one in own]
        return _struct("Filters", fields, Filters)

    def _with_columns(self, base: type[_StructT], **types: type[Struct]) -> type[_StructT]:
        """Subclass of `base` in which the context, and the fields in `types`, have the shop's types."""
        told = {info.name: _description(info.type) for info in msgspec.structs.fields(base)}
        types["context"] = self.context_struct
        fields = [
            (name, Annotated[struct | None, Meta(description=told[name])], None) for name, struct in types.items()
        ]
        return _struct(base.__name__, fields, base)


def _struct(
    name: str, fields: Sequence[tuple[str, object, None]], base: type[_StructT], doc: str = ""
) -> type[_StructT]:
    made = msgspec.defstruct(
        name,
        fields,
        bases=(base,),
        namespace={"__doc__": doc or base.__doc__},
        module=__name__,
        frozen=True,
        forbid_unknown_fields=True,
        kw_only=True,
    )
    return cast(type[_StructT], made)


def _description(annotation: object) -> str:
    metas = (meta for meta in getattr(annotation, "__metadata__", ()) if isinstance(meta, Meta))
    return next((meta.description for meta in metas if meta.description), "")


def _context_type(column: ShopColumn) -> object:
    match column.kind:
        case "category":
            return _Category | None
        case "categories":
            return Annotated[list[_Category], Meta(max_length=MAX_CONTEXT)] | None
        case "vector":
            return Annotated[list[_Number], Meta(min_length=column.length, max_length=column.length)] | None
        case _:
            return _Number | None
