import pytest
from pamqp.commands import Queue

from fake_client import FakeClient, FakeServer
from leveret.amqp import methods as m
from leveret.amqp.fields import Field, Table
from leveret.broker.configuration import Configuration

DECLARE = (50, 10)
Q = "queue 'q' in vhost '/'"


def typed(arguments: Table, *, durable: bool = False) -> m.QueueDeclare:
    """queue.declare with arguments of any type."""
    return m.QueueDeclare(0, "q", False, durable, False, False, False, arguments)


def queues(client: FakeClient) -> set[str]:
    return set(client.server.broker.vhosts["/"].queues)


# --- arguments that are compared --------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"x-expires": Field("b", 100)}, {"x-expires": Field("l", 100)}),
        ({"x-queue-version": Field("s", 1)}, {"x-queue-version": Field("I", 1)}),
        ({"x-queue-mode": Field("S", b"lazy")}, {"x-queue-mode": Field("x", b"lazy")}),
        ({"x-foo": Field("b", 1)}, {"x-bar": Field("S", b"a")}),
        ({"x-queue-type": Field("S", b"classic")}, {}),
        ({}, {"x-queue-type": Field("S", b"classic")}),
        ({}, {"x-delivery-limit": Field("b", 4), "x-max-age": Field("S", b"1D")}),
        ({}, {"x-queue-leader-locator": Field("S", b"balanced")}),
        ({}, {"x-consumer-timeout": Field("s", 1000)}),
    ],
)
def test_some_differences_make_none(client: FakeClient, first: Table, second: Table) -> None:
    client.request(typed(first), Queue.DeclareOk)
    client.request(typed(second), Queue.DeclareOk)


LAZY = {"x-queue-mode": Field("S", b"lazy")}


@pytest.mark.parametrize(
    ("first", "second", "name", "difference"),
    [
        (
            {"x-expires": Field("s", 1000)},
            {"x-expires": Field("s", 2000)},
            "x-expires",
            "received '2000' but current is '1000'",
        ),
        (
            {},
            {"x-expires": Field("b", 5)},
            "x-expires",
            "received the value '5' of type 'byte' but current is none",
        ),
        (
            {"x-expires": Field("s", 1000)},
            {},
            "x-expires",
            "received none but current is the value '1000' of type 'short'",
        ),
        (
            LAZY,
            {"x-queue-mode": Field("S", b"default")},
            "x-queue-mode",
            "received 'default' but current is 'lazy'",
        ),
        (
            {},
            {"x-queue-mode": Field("t", True)},
            "x-queue-mode",
            "received the value 'true' of type 'bool' but current is none",
        ),
        (
            {},
            {"x-queue-mode": Field("V", None)},
            "x-queue-mode",
            "received the value 'undefined' of type 'void' but current is none",
        ),
        (
            {"x-queue-mode": Field("S", b"lazy")},
            {"x-queue-mode": Field("V", None)},
            "x-queue-mode",
            "received none but current is 'lazy'",
        ),
        (
            LAZY,
            {"x-queue-mode": Field("A", [Field("I", 1)])},
            "x-queue-mode",
            "received '[{signedint,1}]' but current is 'lazy'",
        ),
        (
            LAZY,
            {"x-queue-mode": Field("F", {"a": Field("I", 1)})},
            "x-queue-mode",
            "received '[{<<\"a\">>,signedint,1}]' but current is 'lazy'",
        ),
        (
            {"x-queue-version": Field("b", 1)},
            {"x-queue-version": Field("d", 1.0)},
            "x-queue-version",
            "received '1.0' but current is '1'",
        ),
        (
            {"x-single-active-consumer": Field("t", False)},
            {},
            "x-single-active-consumer",
            "received none but current is the value 'false' of type 'bool'",
        ),
        (
            {},
            {"x-queue-type": Field("S", b"quorum")},
            "x-queue-type",
            "received the value 'quorum' of type 'longstr' but current is none",
        ),
        (
            {"x-queue-type": Field("S", b"classic")},
            {"x-queue-type": Field("S", b"quorum")},
            "x-queue-type",
            "received 'quorum' but current is 'classic'",
        ),
        (
            {"x-queue-master-locator": Field("S", b"random")},
            {"x-queue-master-locator": Field("S", b"min-masters")},
            "x-queue-master-locator",
            "received 'min-masters' but current is 'random'",
        ),
        (
            {"x-delayed-retry-type": Field("S", b"all"), "x-delayed-retry-min": Field("b", 5)},
            {"x-delayed-retry-type": Field("S", b"all"), "x-delayed-retry-min": Field("b", 6)},
            "x-delayed-retry-min",
            "received '6' but current is '5'",
        ),
    ],
)
def test_other_differences_are_refused(
    client: FakeClient, first: Table, second: Table, name: str, difference: str
) -> None:
    client.request(typed(first), Queue.DeclareOk)
    client.send(typed(second))
    client.expect_channel_closed(
        406, f"PRECONDITION_FAILED - inequivalent arg '{name}' for {Q}: {difference}", DECLARE
    )


QUORUM = {"x-queue-type": Field("S", b"quorum")}
STREAM = {"x-queue-type": Field("S", b"stream")}


@pytest.mark.parametrize(
    ("first", "second", "name", "difference"),
    [
        (
            QUORUM | {"x-delivery-limit": Field("b", 3)},
            QUORUM | {"x-delivery-limit": Field("b", 4)},
            "x-delivery-limit",
            "received '4' but current is '3'",
        ),
        (
            QUORUM | {"x-max-length": Field("b", 3)},
            QUORUM | {"x-delivery-limit": Field("b", 4)},
            "x-max-length",
            "received none but current is the value '3' of type 'byte'",
        ),
        (
            STREAM | {"x-max-age": Field("S", b"1D")},
            STREAM | {"x-max-age": Field("S", b"2D")},
            "x-max-age",
            "received '2D' but current is '1D'",
        ),
    ],
)
def test_other_differences_of_other_types_are_refused(
    client: FakeClient, first: Table, second: Table, name: str, difference: str
) -> None:
    client.request(typed(first, durable=True), Queue.DeclareOk)
    client.send(typed(second, durable=True))
    client.expect_channel_closed(
        406, f"PRECONDITION_FAILED - inequivalent arg '{name}' for {Q}: {difference}", DECLARE
    )


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (QUORUM, QUORUM | {"x-max-priority": Field("b", 4), "x-consumer-timeout": Field("b", 4)}),
        (STREAM, STREAM | {"x-expires": Field("b", 4), "x-delivery-limit": Field("b", 4)}),
    ],
)
def test_what_another_type_only_has_makes_no_difference(
    client: FakeClient, first: Table, second: Table
) -> None:
    client.request(typed(first, durable=True), Queue.DeclareOk)
    client.request(typed(second, durable=True), Queue.DeclareOk)


@pytest.mark.parametrize(
    ("first", "name"),
    [
        ({}, "x-queue-leader-locator"),
        (QUORUM, "x-consumer-timeout"),
    ],
)
def test_from_4_3_on_more_makes_a_difference(first: Table, name: str) -> None:
    client = FakeServer(Configuration(emulate="4.3")).connect()
    client.request(typed(first, durable=True), Queue.DeclareOk)
    client.send(typed(first | {name: Field("b", 5)}, durable=True))
    why = f"inequivalent arg '{name}' for {Q}: received the value '5' of type 'byte'"
    text = f"PRECONDITION_FAILED - {why} but current is none"
    client.expect_channel_closed(406, text, DECLARE)


# --- arguments that are refused ---------------------------------------------------------------

NOT_INTEGERS = [
    (Field("S", b"5"), "longstr"),
    (Field("d", 1.5), "double"),
    (Field("f", 1.5), "float"),
    (Field("t", True), "bool"),
    (Field("V", None), "void"),
    (Field("T", 1000), "timestamp"),
    (Field("x", b"a"), "binary"),
    (Field("D", (1, 5)), "decimal"),
    (Field("F", {}), "table"),
    (Field("A", []), "array"),
]
INTEGERS = (
    "x-expires",
    "x-message-ttl",
    "x-max-length",
    "x-max-length-bytes",
    "x-max-priority",
    "x-queue-version",
)


def refused(client: FakeClient, arguments: Table, why: str) -> None:
    client.send(typed(arguments))
    client.expect_channel_closed(406, f"PRECONDITION_FAILED - {why}", DECLARE)
    assert not queues(client)


@pytest.mark.parametrize("name", INTEGERS)
@pytest.mark.parametrize(("field", "kind"), NOT_INTEGERS)
def test_numbers_must_be_integers(client: FakeClient, name: str, field: Field, kind: str) -> None:
    refused(
        client,
        {name: field},
        f"invalid arg '{name}' for {Q}: \"expected integer, got {kind}\"",
    )


@pytest.mark.parametrize("name", INTEGERS)
def test_numbers_must_not_be_negative(client: FakeClient, name: str) -> None:
    why = f"invalid arg '{name}' for {Q}: {{value_negative,-1}}"
    refused(client, {name: Field("b", -1)}, why)


@pytest.mark.parametrize(
    ("name", "field", "why"),
    [
        ("x-expires", Field("b", 0), "{value_zero,0}"),
        ("x-expires", Field("l", 315_360_000_001), "{value_too_large,315360000001}"),
        ("x-message-ttl", Field("l", 315_360_000_001), "{value_too_large,315360000001}"),
        ("x-queue-master-locator", Field("S", b"here"), "invalid_queue_locator_arg"),
        ("x-queue-master-locator", Field("b", 5), "{unacceptable_type,byte}"),
        ("x-delayed-retry-type", Field("S", b"often"), "invalid_delayed_retry_type"),
        ("x-delayed-retry-type", Field("b", 5), "{unacceptable_type,byte}"),
        ("x-delayed-retry-min", Field("b", 0), "{value_zero,0}"),
        ("x-delayed-retry-max", Field("b", -1), "{value_negative,-1}"),
        ("x-delayed-retry-max", Field("S", b"5"), '"expected integer, got longstr"'),
        ("x-max-priority", Field("s", 256), "{max_value_exceeded,256}"),
        ("x-queue-version", Field("b", 0), "\"unsupported queue version '0'\""),
        ("x-queue-version", Field("b", 3), "\"unsupported queue version '3'\""),
        ("x-overflow", Field("S", b"foo"), "invalid_overflow"),
        ("x-overflow", Field("b", 1), "{unacceptable_type,byte}"),
        ("x-queue-mode", Field("S", b"foo"), "\"unsupported queue mode 'foo'\""),
        ("x-queue-mode", Field("x", b"lazy"), "{unacceptable_type,binary}"),
        ("x-single-active-consumer", Field("S", b"true"), "{unacceptable_type,longstr}"),
        ("x-dead-letter-routing-key", Field("b", 1), "{unacceptable_type,byte}"),
        ("x-dead-letter-routing-key", Field("S", b"k"), "routing_key_but_no_dlx_defined"),
        ("x-queue-type", Field("S", b"foo"), "\"unsupported queue type 'foo'\""),
        ("x-queue-type", Field("S", b""), "\"unsupported queue type ''\""),
        ("x-queue-type", Field("b", 1), "{unacceptable_type,byte}"),
    ],
)
def test_known_arguments_must_have_values_that_make_sense(
    client: FakeClient, name: str, field: Field, why: str
) -> None:
    refused(client, {name: field}, f"invalid arg '{name}' for {Q}: {why}")


def test_a_dead_letter_exchange_must_be_named_by_a_string(client: FakeClient) -> None:
    refused(
        client,
        {"x-dead-letter-exchange": Field("b", 1), "x-queue-type": Field("S", b"foo")},
        f"invalid type 'byte' for arg 'x-dead-letter-exchange' in {Q}",
    )


_OF_OTHER_TYPES = {
    "x-dead-letter-strategy": Field("S", b"at-most-once"),
    "x-queue-leader-locator": Field("S", b"balanced"),
}


@pytest.mark.parametrize(
    "name",
    [
        "x-delivery-limit",
        "x-dead-letter-strategy",
        "x-max-age",
        "x-max-in-memory-length",
        "x-max-in-memory-bytes",
        "x-quorum-initial-group-size",
        "x-initial-cluster-size",
        "x-queue-leader-locator",
        "x-stream-max-segment-size-bytes",
    ],
)
def test_arguments_of_other_types_of_queue_are_refused(client: FakeClient, name: str) -> None:
    refused(
        client,
        {name: _OF_OTHER_TYPES.get(name, Field("b", 5))},
        f"invalid arg '{name}' for {Q} of queue type rabbit_classic_queue",
    )


@pytest.mark.parametrize(
    "names", [("x-max-age", "x-delivery-limit"), ("x-delivery-limit", "x-max-age")]
)
def test_of_several_arguments_of_other_types_the_first_one_sent_is_told(
    client: FakeClient, names: tuple[str, str]
) -> None:
    refused(
        client,
        dict.fromkeys(names, Field("b", 5)),
        f"invalid arg '{names[0]}' for {Q} of queue type rabbit_classic_queue",
    )


def test_several_bad_values_are_told_in_rabbitmqs_order(client: FakeClient) -> None:
    bad = {
        "x-queue-type": Field("S", b"quorum"),
        "x-single-active-consumer": Field("b", 1),
        "x-overflow": Field("b", 1),
        "x-max-in-memory-bytes": Field("b", -1),
        "x-dead-letter-strategy": Field("b", 1),
    }
    refused(
        client, bad, f"invalid arg 'x-dead-letter-strategy' for {Q}: {{unacceptable_type,byte}}"
    )


@pytest.mark.parametrize("kind", ["quorum", "stream"])
def test_the_master_locator_is_for_classic_queues(client: FakeClient, kind: str) -> None:
    refused(
        client,
        {
            "x-queue-type": Field("S", kind.encode()),
            "x-queue-master-locator": Field("S", b"random"),
        },
        f"invalid arg 'x-queue-master-locator' for {Q} of queue type rabbit_{kind}_queue",
    )


@pytest.mark.parametrize("name", ["type", "min", "max"])
def test_messages_of_streams_do_not_come_back_delayed(client: FakeClient, name: str) -> None:
    refused(
        client,
        STREAM | {f"x-delayed-retry-{name}": Field("b", 5)},
        f"invalid arg 'x-delayed-retry-{name}' for {Q} of queue type rabbit_stream_queue",
    )


def test_what_is_wrong_is_told_before_what_is_of_another_type(client: FakeClient) -> None:
    refused(
        client,
        {"x-delivery-limit": Field("b", 1), "x-overflow": Field("b", 1)},
        f"invalid arg 'x-overflow' for {Q}: {{unacceptable_type,byte}}",
    )


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("x-queue-leader-locator", Field("S", b"here")),
        ("x-queue-leader-locator", Field("b", 5)),
        ("x-dead-letter-strategy", Field("S", b"never")),
        ("x-max-in-memory-length", Field("b", -1)),
        ("x-quorum-initial-group-size", Field("b", 0)),
    ],
)
def test_what_is_wrong_with_an_argument_of_another_type_does_not_matter(
    client: FakeClient, name: str, field: Field
) -> None:
    text = f"invalid arg '{name}' for {Q} of queue type rabbit_classic_queue"
    refused(client, {name: field}, text)


@pytest.mark.parametrize(
    "arguments",
    [
        {"x-queue-mode": Field("S", b"lazy")},
        {"x-queue-mode": Field("S", b"default")},
        {"x-queue-version": Field("b", 1)},
        {"x-queue-version": Field("b", 2)},
        {"x-overflow": Field("S", b"drop-head")},
        {"x-overflow": Field("S", b"reject-publish")},
        {"x-overflow": Field("S", b"reject-publish-dlx")},
        {"x-single-active-consumer": Field("t", False)},
        {"x-single-active-consumer": Field("t", True)},
        {"x-queue-type": Field("S", b"classic")},
        {"x-expires": Field("l", 1 << 33)},
        {"x-expires": Field("l", 315_360_000_000)},
        {"x-message-ttl": Field("l", 315_360_000_000)},
        {"x-message-ttl": Field("b", 0)},
        {"x-queue-master-locator": Field("S", b"min-masters")},
        {"x-max-priority": Field("u", 255)},
        {"x-max-length": Field("b", 0)},
        {"x-max-length-bytes": Field("l", 1 << 40)},
        {"x-dead-letter-exchange": Field("S", b"nowhere")},
        {"x-delayed-retry-type": Field("S", b"disabled")},
        {"x-delayed-retry-type": Field("S", b"all"), "x-delayed-retry-min": Field("b", 5)},
        {"x-delayed-retry-min": Field("b", 5)},
        {"x-foo": Field("V", None)},
    ],
)
def test_other_arguments_are_fine(client: FakeClient, arguments: Table) -> None:
    client.request(typed(arguments), Queue.DeclareOk)
