"""Values that tables and the API share: names of events, and the rule for raw ids."""

from __future__ import annotations

import re
from typing import Final, Literal, get_args

EventName = Literal["view", "click", "cart", "purchase"]
"""Legal values of `event`."""
EVENTS: Final[tuple[EventName, ...]] = get_args(EventName)
"""The same in the order of their codes; a missing event counts as the first."""
MAX_ID_CHARS: Final = 256
ID_PATTERN: Final = r"^(?!\.\.?$)[^\u0000-\u001f\u007f-\u009f]+$(?!\n)"
"""Pattern of a raw id, for Python and JSON schema: no control characters, neither `.` nor `..`."""
MAX_NUMBER: Final = 2**53 - 1
"""Largest legal number: beyond it floats cannot hold every whole number. Embeddings of numbers within it are finite."""
_CONTROL: Final = re.compile(r"[\u0000-\u001f\u007f-\u009f]")
_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")


def id_fault(text: str) -> str | None:
    """Says why a text is not a legal raw id; None if it is.

    Categories and device types follow the same rule, so that requests can name every value of the tables.
    """
    if not text:
        return "it is empty"
    if len(text) > MAX_ID_CHARS:
        return f"it has {len(text)} characters, at most {MAX_ID_CHARS} are taken"
    if control := _CONTROL.search(text):
        return f"it has the control character U+{ord(control[0]):04X}"
    if text in {".", ".."}:
        return "programs take it for a folder in a path"
    if _SURROGATE.search(text):
        return "it has half of a surrogate pair, which is not Unicode"
    return None
