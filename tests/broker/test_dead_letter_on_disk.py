"""Dead letters and the journal: what survives a restart, and what happens in which order."""

from typing import Any

import pytest
from pamqp.commands import Basic, Queue

from durable_server import DurableServer
from fake_client import FakeClient, Received

TO_DLQ: dict[str, Any] = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dlq"}


def reject_one(client: FakeClient, queue: str = "q") -> None:
    delivery = client.get(queue)
    client.send(Basic.Reject(delivery.call.delivery_tag, requeue=False))


def dead_letter(client: FakeClient, queue: str = "dlq") -> Received:
    return client.get(queue, no_ack=True)


def deaths(letter: Received) -> list[tuple[str, str, int]]:
    return [(each["queue"], each["reason"], each["count"]) for each in letter.headers["x-death"]]


@pytest.mark.parametrize("clean", [True, False])
def test_dead_letters_survive_a_restart_and_their_originals_do_not(clean: bool):
    server = DurableServer()
    client = server.connect()
    client.declare("dlq", durable=True)
    client.declare(durable=True, arguments=TO_DLQ)
    for number in range(3):
        client.publish(b"%d" % number, "q", delivery_mode=2)
    reject_one(client)
    server = server.restarted(clean=clean)
    client = server.connect()
    assert (client.ready_in("q"), client.ready_in("dlq")) == (2, 1)
    reject_one(client)
    letter = dead_letter(client)
    assert letter.body == b"0"
    assert deaths(letter) == [("q", "rejected", 1)]
    assert dead_letter(client).body == b"1"


def test_blind_copies_are_remembered_across_a_restart():
    server = DurableServer()
    client = server.connect()
    client.declare("blind", durable=True)
    client.declare(durable=True, arguments={"x-dead-letter-exchange": ""})
    client.publish(b"", "q", delivery_mode=2, headers={"BCC": ["blind"]})
    client.send(Queue.Purge(queue="blind"))
    client.expect(Queue.PurgeOk)
    client = server.restarted().connect()
    reject_one(client)
    assert client.ready_in("blind") == 1


@pytest.mark.parametrize("restarts", [False, True])
def test_copies_that_a_dead_letter_routing_key_has_replaced_stay_so(restarts: bool):
    server = DurableServer()
    client = server.connect()
    client.declare("copy", durable=True)
    client.declare("q", durable=True, arguments=TO_DLQ)
    client.declare("dlq", durable=True, arguments={"x-dead-letter-exchange": "amq.direct"})
    client.bind("copy", "amq.direct", "copy")
    client.publish(b"", "q", headers={"CC": ["copy"]}, delivery_mode=2)
    client.get("copy", no_ack=True)
    reject_one(client)
    if restarts:
        client = server.restarted().connect()
    reject_one(client, "dlq")
    assert client.ready_in("copy") == 0


def test_blind_copies_too_long_or_too_many_to_be_kept_harm_nobody():
    server = DurableServer()
    client = server.connect()
    client.declare(durable=True)
    keys = ["k" * 256, *(f"{number:0200}" for number in range(400))]
    client.publish(b"x", "q", delivery_mode=2, headers={"BCC": keys})
    client = server.restarted().connect()
    assert client.get().body == b"x"


def test_dead_letter_is_in_the_journal_before_its_original_is_settled():
    server = DurableServer()
    client = server.connect()
    client.declare("dlq", durable=True)
    client.declare(durable=True, arguments=TO_DLQ)
    client.publish(b"", "q", delivery_mode=2)
    written: list[str] = []
    append, settle = server.journal.append_message, server.journal.settle
    journal: Any = server.journal

    class Watched:
        def __getattr__(self, name: str) -> Any:
            return getattr(journal, name)

        def append_message(self, *arguments: Any) -> int:
            written.append("appended")
            return append(*arguments)

        def settle(self, owner: int, message_id: int) -> None:
            written.append("settled")
            settle(owner, message_id)

    # It stands in for a journal in what a dead letter asks of one.
    server.broker.intake._journal = Watched()  # type: ignore[assignment] - a fake
    server.broker._store._journal = Watched()  # type: ignore[union-attr] - a fake
    reject_one(client)
    assert written == ["appended", "settled"]


def test_paged_out_messages_die_too():
    server = DurableServer()
    client = server.connect()
    client.declare("dlq")
    client.declare(arguments=TO_DLQ | {"x-message-ttl": 1000})
    for number in range(1200):
        client.publish(b"%d" % number, "q")
    server.page_out("q")
    server.advance(1)
    assert client.ready_in("dlq") == 1200


@pytest.mark.parametrize(("delivery_mode", "letters"), [(1, 0), (2, 1500)])
def test_letter_of_a_paged_out_message_is_as_persistent_as_the_message(
    delivery_mode: int, letters: int
):
    server = DurableServer()
    client = server.connect()
    client.declare("dlq", durable=True)
    client.declare(durable=True, arguments={**TO_DLQ, "x-message-ttl": 1000})
    for number in range(1500):
        client.publish(b"%d" % number, "q", delivery_mode=delivery_mode)
    server.page_out("q")
    server.advance(1.001)
    assert client.ready_in("dlq") == 1500
    assert server.restarted().connect().ready_in("dlq") == letters
