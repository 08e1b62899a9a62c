"""x-dead-letter-exchange: what becomes of messages that nobody acknowledged."""

from typing import Any

import pytest
from pamqp.commands import Basic, Confirm, Exchange, Queue, Tx

from fake_client import FakeClient, FakeServer, Received
from leveret.amqp.content import CONTENT_HEAD, HEADERS, Properties, header_entries
from leveret.amqp.fields import Field, encode_table, table_of
from leveret.broker.death import Death, Reason, properties_after

TO_DLQ: dict[str, Any] = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dlq"}
LAST = [f"x-last-death-{what}" for what in ("exchange", "queue", "reason")]


@pytest.fixture
def server() -> FakeServer:
    server = FakeServer()
    server.broker.timers.epoch_ms = 1_700_000_000_000
    return server


@pytest.fixture
def client(server: FakeServer) -> FakeClient:
    client = server.connect()
    client.declare("dlq")
    return client


def reject_one(client: FakeClient, queue: str = "q") -> None:
    delivery = client.get(queue)
    client.send(Basic.Reject(delivery.call.delivery_tag, requeue=False))


def dead_letter(client: FakeClient, queue: str = "dlq") -> Received:
    return client.get(queue, no_ack=True)


def deaths(letter: Received) -> list[tuple[str, str, int]]:
    return [(each["queue"], each["reason"], each["count"]) for each in letter.headers["x-death"]]


def test_rejected_message_is_published_to_the_dead_letter_exchange(client: FakeClient):
    client.send(Exchange.Declare(exchange="dlx", exchange_type="fanout"))
    client.expect(Exchange.DeclareOk)
    client.bind("dlq", "dlx")
    client.declare(arguments={"x-dead-letter-exchange": "dlx"})
    client.bind("q", "amq.topic", "a.*")
    client.publish(
        b"body",
        "a.b",
        exchange="amq.topic",
        expiration="60000",
        message_id="i",
        priority=3,
        delivery_mode=2,
        headers={"h": 1},
    )
    reject_one(client)
    letter = dead_letter(client)
    assert (letter.call.exchange, letter.call.routing_key) == ("dlx", "a.b")
    assert not letter.call.redelivered
    assert letter.body == b"body"
    properties = letter.properties
    assert (properties.message_id, properties.priority, properties.delivery_mode) == ("i", 3, 2)
    assert properties.expiration is None
    (death,) = letter.headers.pop("x-death")
    assert list(death) == [
        "original-expiration",
        "count",
        "reason",
        "queue",
        "time",
        "exchange",
        "routing-keys",
    ]
    assert death.pop("time").timestamp() == 1_700_000_000
    assert death == {
        "original-expiration": "60000",
        "count": 1,
        "reason": "rejected",
        "queue": "q",
        "exchange": "amq.topic",
        "routing-keys": ["a.b"],
    }
    assert letter.headers == {
        "h": 1,
        **{f"x-{which}-death-exchange": "amq.topic" for which in ("first", "last")},
        **{f"x-{which}-death-queue": "q" for which in ("first", "last")},
        **{f"x-{which}-death-reason": "rejected" for which in ("first", "last")},
    }


def test_nack_of_many_without_requeue_dead_letters_in_order(client: FakeClient):
    client.declare(arguments=TO_DLQ)
    for number in range(3):
        client.publish(b"%d" % number, "q")
    client.consume()
    client.deliveries()
    client.send(Basic.Nack(0, multiple=True, requeue=False))
    client.consume("dlq", "d")
    assert client.bodies() == [b"0", b"1", b"2"]


def test_acknowledged_and_returned_messages_are_no_dead_letters(client: FakeClient):
    client.declare(arguments=TO_DLQ)
    client.publish(b"", "q")
    client.get()
    client.send(Basic.Nack(1, requeue=True))
    client.get()
    client.send(Basic.Ack(2))
    assert client.ready_in("dlq") == 0


def test_purged_and_deleted_messages_are_no_dead_letters(client: FakeClient):
    client.declare(arguments=TO_DLQ)
    client.publish(b"", "q")
    client.send(Queue.Purge(queue="q"))
    client.expect(Queue.PurgeOk)
    client.publish(b"", "q")
    client.send(Queue.Delete(queue="q"))
    client.expect(Queue.DeleteOk)
    assert client.ready_in("dlq") == 0


def test_expired_messages_are_dead_letters(server: FakeServer, client: FakeClient):
    client.declare(arguments=TO_DLQ | {"x-message-ttl": 100})
    client.publish(b"1", "q")
    client.publish(b"2", "q", expiration="5000")
    server.advance(0.1)
    first, second = dead_letter(client), dead_letter(client)
    assert (first.body, second.body) == (b"1", b"2")
    assert first.headers["x-first-death-reason"] == "expired"
    assert "original-expiration" not in first.headers["x-death"][0]
    assert second.headers["x-death"][0]["original-expiration"] == "5000"


def test_dead_letter_goes_to_a_waiting_consumer_in_the_same_turn(client: FakeClient):
    client.declare(arguments=TO_DLQ | {"x-message-ttl": 0})
    client.consume("dlq", no_ack=True)
    client.publish(b"x", "q")
    assert client.bodies() == [b"x"]


def test_keys_of_cc_and_bcc_lead_the_dead_letter_too(client: FakeClient):
    client.send(Exchange.Declare(exchange="dlx", exchange_type="direct"))
    client.expect(Exchange.DeclareOk)
    for key in ("q", "copy", "blind"):
        client.declare(f"dlq-{key}")
        client.bind(f"dlq-{key}", "dlx", key)
    client.declare(arguments={"x-dead-letter-exchange": "dlx"})
    client.publish(b"", "q", headers={"CC": ["copy"], "BCC": ["blind"]})
    reject_one(client)
    for key in ("q", "copy", "blind"):
        letter = dead_letter(client, f"dlq-{key}")
        assert letter.call.routing_key == "q"
        assert letter.headers["CC"] == ["copy"]
        assert "BCC" not in letter.headers
        assert letter.headers["x-death"][0]["routing-keys"] == ["q", "copy"]


def test_dead_letter_routing_key_replaces_all_keys_but_leaves_the_header(client: FakeClient):
    client.declare("copy")
    client.declare(arguments=TO_DLQ)
    client.publish(b"", "q", headers={"CC": ["copy"]})
    client.get("copy", no_ack=True)
    reject_one(client)
    assert dead_letter(client).headers["CC"] == ["copy"]
    assert client.ready_in("copy") == 0


def test_dead_letter_exchange_that_is_missing_takes_nothing(client: FakeClient):
    client.declare(arguments={"x-dead-letter-exchange": "missing"})
    client.publish(b"", "q")
    reject_one(client)
    assert client.ready_in("q") == 0
    assert not client.received()


def test_second_death_in_the_same_way_is_counted(client: FakeClient):
    client.declare("a", arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "b"})
    client.declare("b", arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "a"})
    client.publish(b"", "a")
    for queue in ("a", "b", "a", "b"):
        reject_one(client, queue)
    letter = dead_letter(client, "a")
    assert deaths(letter) == [("b", "rejected", 2), ("a", "rejected", 2)]
    assert letter.headers["x-first-death-queue"] == "a"
    assert letter.headers["x-last-death-queue"] == "b"


def test_message_that_would_circle_by_itself_is_dropped(server: FakeServer, client: FakeClient):
    client.declare("self", arguments={"x-dead-letter-exchange": "", "x-message-ttl": 10})
    client.declare(
        "a",
        arguments={
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": "b",
            "x-message-ttl": 10,
        },
    )
    client.declare(
        "b",
        arguments={
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": "a",
            "x-message-ttl": 10,
        },
    )
    client.publish(b"", "self")
    client.publish(b"", "a")
    server.advance(0.011)
    assert [client.ready_in(queue) for queue in ("self", "a", "b")] == [0, 0, 1]
    server.advance(0.1)
    assert [client.ready_in(queue) for queue in ("self", "a", "b")] == [0, 0, 0]
    assert server.broker.timers.next_deadline() is None


def test_circle_with_a_reject_in_it_goes_on(server: FakeServer, client: FakeClient):
    client.declare("work", arguments=TO_DLQ | {"x-dead-letter-routing-key": "wait"})
    client.declare(
        "wait",
        arguments={
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": "work",
            "x-message-ttl": 10,
        },
    )
    client.publish(b"", "work")
    for _ in range(3):
        reject_one(client, "work")
        server.advance(0.02)
    assert deaths(dead_letter(client, "work")) == [("wait", "expired", 3), ("work", "rejected", 3)]


def test_history_that_a_client_sends_is_continued(client: FakeClient):
    client.declare(arguments=TO_DLQ)
    history = [
        {"queue": "other", "reason": "expired", "count": 2},
        {"queue": "q", "reason": "rejected", "count": 7, "more": "kept"},
    ]
    client.publish(b"", "q", headers={"x-death": history})
    reject_one(client)
    letter = dead_letter(client)
    assert deaths(letter) == [("q", "rejected", 8), ("other", "expired", 2)]
    assert letter.headers["x-death"][0]["more"] == "kept"
    assert "x-first-death-queue" not in letter.headers
    assert letter.headers["x-last-death-queue"] == "q"


def test_count_that_a_client_sends_does_not_overflow(client: FakeClient):
    client.declare(arguments=TO_DLQ)
    history = [{"queue": "q", "reason": "rejected", "count": (1 << 63) - 1}]
    client.publish(b"", "q", headers={"x-death": history})
    reject_one(client)
    assert deaths(dead_letter(client)) == [("q", "rejected", (1 << 63) - 1)]


@pytest.mark.parametrize(
    "history",
    [[], [1, "two"], [{"queue": 1, "reason": None, "count": "x"}], [{}], {"queue": "q"}, True],
)
def test_history_that_makes_no_sense_is_left_alone(
    server: FakeServer, client: FakeClient, history: Any
):
    client.declare(arguments=TO_DLQ | {"x-message-ttl": 10})
    client.publish(b"", "q", headers={"x-death": history})
    server.advance(0.01)
    found = dead_letter(client).headers["x-death"]
    assert found[0]["queue"] == "q"
    assert found[1:] == (history if isinstance(history, list) else [])


def test_history_that_is_no_array_is_replaced(client: FakeClient):
    client.declare(arguments=TO_DLQ)
    client.publish(b"", "q", headers={"x-death": "nonsense"})
    reject_one(client)
    letter = dead_letter(client)
    assert deaths(letter) == [("q", "rejected", 1)]
    assert "x-first-death-queue" not in letter.headers


def test_other_headers_keep_their_bytes_and_the_new_ones_have_rabbitmqs_types():
    odd = {
        "l": Field("l", 1),
        "b": Field("b", 1),
        "u": Field("u", 1),
        "x": Field("x", b"\0"),
        "D": Field("D", (2, 3)),
        "f": Field("f", 0.5),
        "F": Field("F", table_of({"n": 1})),
        "V": Field("V", None),
    }
    raw = HEADERS.to_bytes(2) + encode_table(odd)
    death = Death("q", Reason.EXPIRED, 5, "x", ("k",))
    after = Properties(properties_after(death, raw))
    at = after.spans[HEADERS][0]
    assert after.raw[at + 4 :].startswith(encode_table(odd)[4:])
    names = [name for name, _, _ in header_entries(after.raw, at)]
    assert names[len(odd)] == "x-death"
    headers = after.headers()
    history: Any = headers["x-death"].value
    (entry,) = history
    assert {name: field.tag for name, field in entry.value.items()} == {
        "count": "l",
        "reason": "S",
        "queue": "S",
        "time": "T",
        "exchange": "S",
        "routing-keys": "A",
    }
    assert all(headers[name].tag == "S" for name in LAST)


def test_reject_in_a_transaction_dead_letters_at_the_commit(client: FakeClient):
    client.declare(arguments=TO_DLQ)
    client.publish(b"", "q")
    client.send(Tx.Select())
    client.expect(Tx.SelectOk)
    reject_one(client)
    assert client.ready_in("dlq") == 0
    client.send(Tx.Commit())
    client.expect(Tx.CommitOk)
    assert client.ready_in("dlq") == 1


def test_routing_key_that_no_delivery_could_carry_is_refused(client: FakeClient):
    arguments: dict[str, Any] = TO_DLQ | {"x-dead-letter-routing-key": "k" * 256}
    client.send(Queue.Declare(queue="bad", arguments=arguments))
    client.expect_channel_closed(
        406,
        "PRECONDITION_FAILED - invalid arg 'x-dead-letter-routing-key' for queue 'bad' in vhost"
        " '/': {value_too_large,256}",
        (50, 10),
    )


def test_routing_key_without_an_exchange_is_refused(client: FakeClient):
    client.send(Queue.Declare(queue="bad", arguments={"x-dead-letter-routing-key": "k"}))
    client.expect_channel_closed(
        406,
        "PRECONDITION_FAILED - invalid arg 'x-dead-letter-routing-key' for queue 'bad' in vhost"
        " '/': routing_key_but_no_dlx_defined",
        (50, 10),
    )


def test_confirmed_message_that_expires_at_once_is_confirmed(client: FakeClient):
    client.declare(arguments=TO_DLQ | {"x-message-ttl": 0})
    client.send(Confirm.Select())
    client.expect(Confirm.SelectOk)
    client.publish(b"", "q")
    assert client.expect(Basic.Ack).delivery_tag == 1
    assert client.ready_in("dlq") == 1


def test_size_of_the_body_stays_in_the_content_header(client: FakeClient):
    client.declare(arguments=TO_DLQ)
    client.publish(b"x" * 300_000, "q")
    reject_one(client)
    assert dead_letter(client).body == b"x" * 300_000
    assert CONTENT_HEAD.size == 12
