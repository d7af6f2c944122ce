"""An accepted interaction on its way from the API to features and training: one JSON object an entry of a stream.

The same stream tells that a user was erased, so that what is recorded for training is filtered.
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
"""The one field of a stream's entry."""
ERASURE_FIELD: Final = b"erasure"
"""The one field of an entry that tells of an erased user."""


class Interaction(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something that a subject did with an item, as it was accepted.

    Attributes:
        event_id: tells it from all others of its subject.
        item_id: raw id of the item.
        event: one of `contracts.columns.EVENTS`.
        timestamp: Unix seconds at which it happened, not after `accepted_at`.
        accepted_at: the clock's now at acceptance, Unix seconds.
        user_id: raw id of the user.
        session_id: raw id of the session; there is a user, a session, or both.
        device_type: raw string.
        request_id: of the recommendations that it answers.
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
        """Whose history it belongs to: the user, or the session of a visitor without a user id; '' for neither."""
        return subject_of(self.user_id, self.session_id) or ""


class Erasure(Struct, frozen=True, kw_only=True):
    """A user was erased: what happened up to then must not be used any more.

    Attributes:
        user_id: raw id.
        erased_at: the clock's now, Unix seconds.
    """

    user_id: str
    erased_at: int


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Interaction)
_context_decoder = msgspec.json.Decoder(dict[str, ContextValue])
_erasure_decoder = msgspec.json.Decoder(Erasure)


def encode(interaction: Interaction) -> bytes:
    """The value of `STREAM_FIELD`."""
    return _encoder.encode(interaction)


def decode(content: bytes) -> Interaction:
    """The interaction of a value of `STREAM_FIELD`.

    Raises:
        DataError: not JSON, a field of a wrong type or none that must be there, or nobody's.
    """
    try:
        interaction = _decoder.decode(content)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise DataError(f"a stream entry is no interaction: {error}") from error
    if not interaction.subject:
        raise DataError(f"interaction {interaction.event_id!r} has neither user_id nor session_id, expected one")
    return interaction


def context_text(context: Mapping[str, ContextValue] | None) -> str | None:
    """A context as records keep it, a JSON object; None for none."""
    return None if context is None else _encoder.encode(context).decode()


def read_context(text: str | None) -> dict[str, ContextValue]:
    """The context of a record; empty where there is none that can be read."""
    if text is None:
        return {}
    try:
        return _context_decoder.decode(text)
    except msgspec.MsgspecError:
        return {}


def encode_erasure(erasure: Erasure) -> bytes:
    """The value of `ERASURE_FIELD`."""
    return _encoder.encode(erasure)


def decode_erasure(content: bytes) -> Erasure:
    """The erasure of a value of `ERASURE_FIELD`.

    Raises:
        DataError: not JSON, or a field is missing or of a wrong type.
    """
    try:
        return _erasure_decoder.decode(content)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise DataError(f"a stream entry is no erasure: {error}") from error
