"""Quotas of events: by visitor, and of new visitors by caller and address; what is too many is refused one by one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from contracts.bundle import Bundle
from contracts.ids import session_subject, user_subject
from contracts.interactions import Interaction
from recommender_api.interactions import RefusedEvent
from serving.gateway.http.clients import OWN_PROXIES, ClientAddress
from serving.gateway.record.config import QuotaConfig
from serving.gateway.record.quotas import EventQuotas, Pace, Sender, countable
from serving.stores.interactions import NewInteraction
from tests.unit.serving.gateway.calls import KEYS
from tests.unit.serving.gateway.conftest import Shop

PATH = "/v1/interactions"
UNBOUNDED = {"visitors_per_address_h": None}


class Counted:
    """Quotas under a clock that the test sets."""

    def __init__(self, **config: Any) -> None:
        self.now = 1_000.0
        self.quotas = EventQuotas(QuotaConfig.model_validate(UNBOUNDED | config), lambda: self.now)

    def taken(self, *subjects: str, sender: Sender = Sender()) -> list[bool]:  # noqa: B008 - immutable
        events = [event_of(subject) for subject in subjects]
        answer, self.wait_s = self.quotas(events, sender)
        self.refused = [one for one in answer if isinstance(one, RefusedEvent)]
        return [isinstance(one, NewInteraction) for one in answer]


def event_of(subject: str) -> NewInteraction:
    kind, name = subject.split(":")
    user_id, session_id = (name, None) if kind == "u" else (None, name)
    told = {"event_id": "e", "item_id": "i1", "event": "view"}
    interaction = Interaction(**told, timestamp=1, accepted_at=1, user_id=user_id, session_id=session_id)
    assert interaction.subject in {user_subject(name), session_subject(name)}
    return NewInteraction(interaction, None, None)


def test_a_visitor_has_a_burst_and_then_a_pace() -> None:
    """Three at once, then one every two seconds."""
    counted = Counted(events_per_min=30, events_at_once=3)
    assert counted.taken(*["s:a"] * 5) == [True, True, True, False, False]
    assert counted.refused[0] == RefusedEvent(
        3,
        "too_many",
        "this session has sent 3 events at once or more than 30 a minute; send it again after 2 s",
    )
    assert counted.wait_s == pytest.approx(2)
    assert counted.taken("s:b", "u:a") == [True, True], "others, also of that name, have their own"
    counted.now += 1.9
    assert counted.taken("s:a") == [False]
    counted.now += 0.2
    assert counted.taken("s:a", "s:a") == [True, False]
    counted.now += 600
    assert counted.taken(*["s:a"] * 4) == [True, True, True, False]
    assert counted.taken(*["u:a"] * 4)[-1:] == [False]
    assert counted.refused[-1].message.startswith("this user has sent")


def test_new_visitors_of_an_address_are_bounded_and_known_ones_are_not() -> None:
    counted = Counted(visitors_per_address_h=3)
    one, other = Sender(address="1.2.3.4"), Sender(address="1.2.3.5")
    assert counted.taken("s:a", "u:b", "s:c", "s:d", "s:a", sender=one) == [True, True, True, False, True]
    assert counted.refused[0].message == (
        "address 1.2.3.4 brought more than 3 new visitors within an hour; see interactions.quotas"
    )
    assert counted.wait_s == pytest.approx(1_200)
    assert counted.taken("s:d", sender=other) == [True]
    assert counted.taken("s:x", sender=Sender()) == [True], "nobody is told apart there"
    counted.now += 1_201
    assert counted.taken("s:e", "s:f", sender=one) == [True, False]


def test_an_ipv6_client_is_its_network() -> None:
    counted = Counted(visitors_per_address_h=1)
    assert counted.taken("s:a", sender=Sender(address="2001:db8::1")) == [True]
    assert counted.taken("s:b", sender=Sender(address="2001:db8::ffff:2")) == [False]
    assert counted.refused[0].message.startswith("address 2001:db8::/64 brought")
    assert counted.taken("s:b", sender=Sender(address="2001:db8:0:1::1")) == [True]


def test_callers_have_their_own_bound_and_named_ones_another_in_place_of_all() -> None:
    counted = Counted(visitors_per_address_h=1, visitors_per_caller_h=2, callers={"backend": 4})
    widget = [Sender("widget", f"1.1.1.{n}") for n in range(3)]
    assert [counted.taken(f"s:w{n}", sender=sender)[0] for n, sender in enumerate(widget)] == [True, True, False]
    assert counted.refused[0].message.startswith("caller 'widget' brought more than 2 new visitors")
    backend = Sender("backend", "1.1.1.9")
    assert counted.taken(*(f"s:b{n}" for n in range(5)), sender=backend) == [True] * 4 + [False]


def test_memory_is_bounded() -> None:
    pace = Pace(1.0, 10, max_tracked=100)
    for who in range(1_000):
        assert pace.wait_s(who, 0.0) == 0.0
        pace.note(who, 0.0)
    assert len(pace._due) == 100
    pace.note(5_000, 60.0)
    assert len(pace._due) == 1, "what is as good as new is forgotten"
    counted = Counted(visitors_per_address_h=10**6, max_tracked=1_000)
    counted.taken(*(f"s:{n}" for n in range(5_000)), sender=Sender(address="1.2.3.4"))
    assert len(counted.quotas._known._new) + len(counted.quotas._known._old) <= 1_000


def test_addresses_that_many_stand_behind_are_not_counted() -> None:
    is_proxy = ClientAddress((*OWN_PROXIES, "10.0.0.0/8")).is_proxy
    assert [countable(one, is_proxy) for one in ("1.2.3.4", "10.1.1.1", "127.0.0.1", "::1", "")] == [
        "1.2.3.4", "", "", "", "",
    ]  # fmt: skip


async def post(shop: Shop, events: Any, headers: dict[str, str] | None = None) -> httpx.Response:
    transport = httpx.ASGITransport(app=shop.app, client=("9.9.9.9", 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
        return await client.post(PATH, json=events, headers=headers)


def view(session: str, item: str = "i1") -> dict[str, str]:
    return {"session_id": session, "item_id": item, "event": "view"}


async def test_what_is_too_many_is_refused_one_by_one_and_429_when_nothing_is_left(
    bundle: Bundle, raw_dir: Path
) -> None:
    quotas = {"events_per_min": 0.1, "events_at_once": 2}
    shop = Shop(bundle, raw_dir, online=True, interactions={"quotas": quotas})
    answer = (await post(shop, [view("a"), view("a"), view("a"), view("b"), view("b", "none")])).json()
    assert answer["accepted"] == 3
    assert [(one["index"], one["code"]) for one in answer["refused"]] == [(2, "too_many"), (4, "unknown_item")]
    response = await post(shop, [view("a"), view("a")])
    assert (response.status_code, response.json()["error"]["code"]) == (429, "too_many")
    assert 0 < int(response.headers["retry-after"]) <= 600
    assert [one["index"] for one in response.json()["error"]["details"]["refused"]] == [0, 1]
    mixed = await post(shop, [view("a"), view("b", "none")])
    assert (mixed.status_code, mixed.json()["error"]["code"]) == (422, "all_refused")


async def test_made_up_sessions_of_an_address_end_and_a_shops_backend_goes_on(bundle: Bundle, raw_dir: Path) -> None:
    interactions = {"quotas": {"visitors_per_address_h": 5, "callers": {"shop": 1_000}}}
    opened = Shop(bundle, raw_dir, online=True, interactions=interactions)
    assert [(await post(opened, view(f"s{n}"))).status_code for n in range(7)] == [202] * 5 + [429] * 2
    keyed = Shop(bundle, raw_dir, online=True, interactions=interactions, access={"auth": "api_key", "api_keys": KEYS})
    sent = await post(keyed, [view(f"s{n}") for n in range(50)], {"x-api-key": "shop-key"})
    assert sent.json()["accepted"] == 50


def test_who_is_refused_for_an_address_uses_up_nothing_of_the_caller() -> None:
    """One visitor of a widget's key sends made-up sessions; all others of that key go on."""
    counted = Counted(visitors_per_address_h=2, visitors_per_caller_h=10)
    flood = counted.taken(*(f"s:x{n}" for n in range(100)), sender=Sender("widget", "6.6.6.6"))
    assert flood == [True] * 2 + [False] * 98
    assert counted.taken(*(f"s:y{n}" for n in range(2)), sender=Sender("widget", "1.1.1.1")) == [True, True]
    counted = Counted(visitors_per_address_h=10, visitors_per_caller_h=2)
    counted.taken(*(f"s:x{n}" for n in range(100)), sender=Sender("widget", "1.1.1.1"))
    assert counted.taken(*(f"s:z{n}" for n in range(2)), sender=Sender("other", "1.1.1.1")) == [True, True]


async def test_clients_behind_our_own_haproxy_are_told_apart_whatever_they_forge(bundle: Bundle, raw_dir: Path) -> None:
    """HAProxy calls from loopback and adds who called it after whatever that client said."""
    for proxies in ({}, {"proxies": ["10.0.0.0/8"]}):
        quotas = {"visitors_per_address_h": 1}
        shop = Shop(bundle, raw_dir, online=True, interactions={"quotas": quotas}, gateway=proxies)

        async def told(session: str, *headers: str, shop: Shop = shop) -> int:
            transport = httpx.ASGITransport(app=shop.app, client=("127.0.0.1", 1))
            async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
                forwarded = [("x-forwarded-for", one) for one in headers]
                return (await client.post(PATH, json=view(session), headers=forwarded)).status_code

        assert await told("a", "9.9.9.9") == 202
        assert await told("b", "9.9.9.9") == 429
        assert [await told(f"c{n}", f"1.1.1.{n}", "9.9.9.9") for n in range(3)] == [429] * 3
        assert [await told(f"d{n}", "127.0.0.1, 10.0.0.1", "9.9.9.9") for n in range(3)] == [429] * 3
        assert await told("e", "9.9.9.9", "8.8.8.8") == 202
        assert [await told(f"f{n}", "127.0.0.1") for n in range(3)] == [202] * 3, "a backend on this machine"


async def test_a_made_up_address_does_not_help(bundle: Bundle, raw_dir: Path) -> None:
    shop = Shop(bundle, raw_dir, online=True, interactions={"quotas": {"visitors_per_address_h": 1}})
    assert (await post(shop, view("s1"), {"x-forwarded-for": "1.1.1.1"})).status_code == 202
    assert (await post(shop, view("s2"), {"x-forwarded-for": "2.2.2.2"})).status_code == 429
