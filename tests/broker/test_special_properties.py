"""expiration is in test_expiry.py, reply_to in test_direct_reply_to.py."""

from typing import Any

import pytest
from pamqp.commands import Basic

from fake_client import FakeClient, FakeServer, encoded, message
from leveret.amqp.fields import Field, Table, encode_table
from leveret.amqp.frames import HEADER, frame
from leveret.broker.configuration import Configuration, Permissions, User

PUBLISH = (60, 40)


@pytest.fixture
def queues(client: FakeClient) -> FakeClient:
    """A client with the queues q, r and s."""
    for name in "qrs":
        client.declare(name)
    return client


def with_headers(headers: Table) -> bytes:
    """An empty message for q with headers of any type."""
    head = b"\0\x3c\0\0" + bytes(8) + b"\x20\0" + encode_table(headers)
    return encoded(Basic.Publish(routing_key="q")) + frame(HEADER, 1, head)


def arrived(client: FakeClient) -> str:
    """The queues that have got something, each as often as it has."""
    return "".join(name * client.ready_in(name) for name in "qrs")


# --- CC and BCC -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "queues_reached"),
    [
        ({"CC": ["r"]}, "qr"),
        ({"BCC": ["r"]}, "qr"),
        ({"CC": ["r"], "BCC": ["s"]}, "qrs"),
        ({"CC": ["q", "r", "r"], "BCC": ["q", "r"]}, "qr"),
        ({"CC": [], "BCC": ["nowhere"]}, "q"),
        ({"CC": [5, True, None, {"a": 1}, "r"]}, "qr"),
        ({"CC": [bytearray(b"r")]}, "q"),
        ({"cc": ["r"], "x": {"CC": ["r"]}}, "q"),
    ],
)
@pytest.mark.parametrize("size", [0, 5, 200_000])
def test_further_routing_keys_lead_to_further_queues(
    queues: FakeClient, headers: dict[str, Any], queues_reached: str, size: int
) -> None:
    body = b"x" * size
    queues.publish(body, "q", headers={**headers, "a": 1}, app_id="me", delivery_mode=2)
    assert arrived(queues) == queues_reached
    kept = {"a": 1, **{name: value for name, value in headers.items() if name != "BCC"}}
    for name in queues_reached:
        got = queues.get(name)
        assert (got.body, got.headers, got.call.routing_key) == (body, kept, "q")
        assert (got.properties.app_id, got.properties.delivery_mode) == ("me", 2)


def test_they_lead_there_even_if_the_first_key_leads_nowhere(queues: FakeClient) -> None:
    queues.publish(b"", "nowhere", mandatory=True, headers={"CC": ["r"]})
    assert not queues.received()
    assert arrived(queues) == "r"


def test_nobody_sees_a_blind_copy_not_even_who_gets_it_back(queues: FakeClient) -> None:
    queues.publish(b"a", "nowhere", mandatory=True, headers={"CC": ["x"], "BCC": ["y"], "a": 1})
    returned = queues.expect_content(Basic.Return)
    assert (returned.body, returned.headers) == (b"a", {"CC": ["x"], "a": 1})


def test_they_go_through_exchanges_of_all_types(queues: FakeClient) -> None:
    for exchange in ("amq.direct", "amq.topic"):
        queues.bind("r", exchange, "r")
        queues.bind("s", exchange, "s")
        queues.publish(b"", "q", exchange=exchange, headers={"CC": ["r", "s"]})
    queues.bind("q", "amq.headers", a=1)
    queues.publish(b"", "q", exchange="amq.headers", headers={"CC": ["r", "s"], "a": 1})
    assert arrived(queues) == "qrrss"


@pytest.mark.parametrize("name", ["CC", "BCC"])
@pytest.mark.parametrize(
    ("field", "kind"),
    [
        (Field("S", b"r"), "longstr"),
        (Field("b", 5), "byte"),
        (Field("V", None), "void"),
        (Field("F", {}), "table"),
    ],
)
def test_further_routing_keys_must_stand_in_an_array(
    queues: FakeClient, name: str, field: Field, kind: str
) -> None:
    queues.feed(with_headers({name: field}))
    queues.expect_channel_closed(
        406,
        f'PRECONDITION_FAILED - invalid message: {{unacceptable_type_in_header,"{name}",{kind}}}',
        PUBLISH,
    )
    queues.open_channel(1)
    assert arrived(queues) == ""


def test_the_order_of_messages_with_and_without_them_is_kept(queues: FakeClient) -> None:
    plain, special = message(b"1", "q"), message(b"2", "q", headers={"CC": ["r"]})
    queues.feed(plain + special + plain + special)
    assert [queues.get("q").body for _ in range(4)] == [b"1", b"2", b"1", b"2"]


# --- user_id ----------------------------------------------------------------------------------


def test_user_id_must_be_ones_own(queues: FakeClient) -> None:
    queues.publish(b"a", "q", user_id="guest")
    assert queues.get("q").properties.user_id == "guest"
    queues.publish(b"a", "q", user_id="other")
    queues.expect_channel_closed(
        406,
        "PRECONDITION_FAILED - user_id property set to 'other' but authenticated user was 'guest'",
        PUBLISH,
    )


def test_an_impersonator_may_use_any_user_id() -> None:
    all_rights = Permissions(".*", ".*", ".*")
    users = (User("actor", "pw", tags=("impersonator",), permissions={"/": all_rights}),)
    client = FakeServer(Configuration(users=users)).connect("actor", "pw")
    client.declare("q")
    client.publish(b"a", "q", user_id="other")
    assert client.get("q").properties.user_id == "other"


def test_a_user_id_that_is_no_utf_8_is_refused_in_a_text_that_is(client: FakeClient) -> None:
    head = b"\0\x3c\0\0" + bytes(8) + b"\0\x10\2\xffa"
    client.feed(encoded(Basic.Publish(routing_key="q")) + frame(HEADER, 1, head))
    (close,) = client.received()
    assert close.call.reply_code == 406


# --- several of them --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("properties", "why"),
    [
        (
            {"reply_to": "amq.rabbitmq.reply-to", "expiration": "x"},
            "fast reply consumer does not exist",
        ),
        (
            {"expiration": "x", "headers": {"CC": 1, "BCC": 1}},
            "invalid expiration 'x': no_integer",
        ),
        (
            {"reply_to": "amq.rabbitmq.reply-to", "user_id": "other"},
            "fast reply consumer does not exist",
        ),
        (
            {"expiration": "x", "headers": {"CC": 1}, "user_id": "other"},
            "user_id property set to 'other' but authenticated user was 'guest'",
        ),
        (
            {"headers": {"CC": 1, "BCC": "x"}},
            'invalid message: {unacceptable_type_in_header,"CC",byte}',
        ),
    ],
)
def test_the_first_fault_is_told(client: FakeClient, properties: dict[str, Any], why: str) -> None:
    client.publish(b"a", "q", **properties)
    client.expect_channel_closed(406, f"PRECONDITION_FAILED - {why}", PUBLISH)


def test_where_it_goes_is_checked_first(client: FakeClient) -> None:
    client.publish(b"a", "q", exchange="nope", user_id="other")
    client.expect_channel_closed(404, "NOT_FOUND - no exchange 'nope' in vhost '/'", PUBLISH)
