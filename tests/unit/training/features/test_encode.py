from __future__ import annotations

import pytest

from contracts.clock import DAY_S
from tests.fixtures.raw_tables import START
from tests.unit.training.features.conftest import Encode
from training.features.encode import REJECTED, VERDICTS


def test_ids_become_rows_and_the_user_goes_before_the_session(encode_rows: Encode) -> None:
    both = {"user_id": "u2", "session_id": "s1", "item_id": "i3", "event": "cart", "device_type": "tv", "label": 0.5}
    rows = encode_rows([both, {"session_id": "s1", "item_id": "i1"}]).to_pylist()
    assert rows[0] == {
        "partition": 0,
        "verdict": 0,
        "value": None,
        "user_row": 1,
        "session_id": None,
        "item_row": 2,
        "timestamp": START,
        "device_type": "tv",
        "event": 2,
        "event_id": None,
        "label": 0.5,
        "happened_ms": None,
    }
    assert (rows[1]["user_row"], rows[1]["session_id"], rows[1]["event"]) == (-1, "s1", 0)  # no event is a view


GOOD = {"user_id": "u1", "item_id": "i1"}


@pytest.mark.parametrize(
    ("row", "verdict", "value"),
    [
        ({"item_id": "i1"}, "no_subject", None),
        ({**GOOD, "user_id": "stranger", "session_id": "s"}, "unknown_user", "stranger"),
        ({**GOOD, "user_id": "gone"}, "erased_user", None),
        ({**GOOD, "item_id": "gone"}, "unknown_item", "gone"),
        ({**GOOD, "item_id": None}, "unknown_item", None),
        ({**GOOD, "event": "like"}, "unknown_event", "like"),
        ({**GOOD, "timestamp": None}, "no_timestamp", None),
        ({**GOOD, "timestamp": -5}, "outside_window", "-5"),
        ({**GOOD, "timestamp": START - 1}, "outside_window", str(START - 1)),
        ({**GOOD, "timestamp": START + 5 * DAY_S}, "outside_window", str(START + 5 * DAY_S)),
        ({"user_id": "stranger", "item_id": "gone"}, "unknown_user", "stranger"),
    ],
)
def test_rows_are_kept_out_with_their_reason(
    encode_rows: Encode, row: dict[str, object], verdict: str, value: str | None
) -> None:
    encoded = encode_rows([GOOD, row, GOOD]).to_pylist()
    assert [entry["partition"] for entry in encoded] == [0, REJECTED, 0]
    assert (VERDICTS[encoded[1]["verdict"]], encoded[1]["value"]) == (verdict, value)


def test_the_window_includes_its_first_and_last_second(encode_rows: Encode) -> None:
    rows = [{**GOOD, "timestamp": START}, {**GOOD, "timestamp": START + 5 * DAY_S - 1}]
    assert encode_rows(rows)["partition"].to_pylist() == [0, 0]


def test_all_rows_of_a_subject_share_a_partition(encode_rows: Encode) -> None:
    users = [{"user_id": user, "item_id": "i1"} for user in ("u1", "u2", "u1")]
    sessions = [{"session_id": session, "item_id": "i1"} for session in ("s1", "s2", "s1")]
    encoded = encode_rows(users + sessions, num_partitions=64)["partition"].to_pylist()
    assert encoded[0] == encoded[2] != encoded[1]
    assert encoded[3] == encoded[5] != encoded[4]


def test_no_rows(encode_rows: Encode) -> None:
    assert len(encode_rows([])) == 0
