"""Entries of the stream from the API to features and training: accepted interactions, one JSON object each.

The stream also carries erasures of users, so that consumers remove their records.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Struct

from contracts.errors import DataError
from contracts.ids import subject_of
from contracts.messages import ContextValue

STREAM_FIELD: Final = b"interaction"
"""The only field of an entry with an interaction."""
ERASURE_FIELD: Final = b"erasure"
"""The only field of an entry with an erasure."""


class Interaction(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An accepted interaction of a subject with an item.

    Attributes:
        event_id: unique among the events of its subject.
        item_id: raw id of the item.
        event: one of `contracts.columns.EVENTS`.
        timestamp: Unix seconds of the event, not after `accepted_at`.
        accepted_at: Unix seconds of the acceptance, by the clock.
        user_id: raw id of the user.
        session_id: raw id of the session; at least one of user and session is given.
        device_type: raw string.
        request_id: of the recommendations that led to it.
        context: raw values by column of the shop's context.
    """

    event_id: str
    item_id: str
    event: str
    timestamp: int
    accepted_at: int
    user_id: str | None = None
    session_id: str | None = None
    device_type: str | None = None
    request_id: str | None = None
    context: dict[str, ContextValue] | None = None

    @property
    def subject(self) -> str:
        """The user, else the session; '' if there is neither."""
        return subject_of(self.user_id, self.session_id) or ""


class Erasure(Struct, frozen=True, kw_only=True):
    """A user was erased: earlier events must not be used any more.

    Attributes:
        user_id: raw id.
        erased_at: Unix seconds, by the clock.
    """

    user_id: str
    erased_at: int


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Interaction)
_context_decoder = msgspec.json.Decoder(dict[str, ContextValue])
_erasure_decoder = msgspec.json.Decoder(Erasure)


def encode(interaction: Interaction) -> bytes:
    """Encodes the value of `STREAM_FIELD`."""
    return _encoder.encode(interaction)


def decode(content: bytes) -> Interaction:
    """Decodes the value of `STREAM_FIELD`.

    Raises:
        DataError: not JSON, a field is missing or of a wrong type, or there is no subject.
    """
    try:
        interaction = _decoder.decode(content)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise DataError(f"a stream entry is not an interaction: {error}") from error
    if not interaction.subject:
        raise DataError(f"interaction {interaction.event_id!r} has neither user_id nor session_id, expected one")
    return interaction


def context_text(context: Mapping[str, ContextValue] | None) -> str | None:
    """A context as records keep it: a JSON object, or None."""
    return None if context is None else _encoder.encode(context).decode()


def read_context(text: str | None) -> dict[str, ContextValue]:
    """Decodes the context of a record; empty if it is missing or unreadable."""
    if text is None:
        return {}
    try:
        return _context_decoder.decode(text)
    except msgspec.MsgspecError:
        return {}


def encode_erasure(erasure: Erasure) -> bytes:
    """Encodes the value of `ERASURE_FIELD`."""
    return _encoder.encode(erasure)


def decode_erasure(content: bytes) -> Erasure:
    """Decodes the value of `ERASURE_FIELD`.

    Raises:
        DataError: not JSON, or a field is missing or of a wrong type.
    """
    try:
        return _erasure_decoder.decode(content)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise DataError(f"a stream entry is not an erasure: {error}") from error
