"""The exchange types that RabbitMQ has as plugins.

They are rabbitmq_consistent_hash_exchange, rabbitmq_random_exchange, rabbitmq_sharding (for
x-modulus-hash) and rabbitmq_recent_history_exchange.

The tests of a type that the broker does not have are skipped.
"""

import pytest
from pika import BasicProperties
from pika.exceptions import ChannelClosedByBroker, ConnectionClosedByBroker, UnroutableError


@pytest.fixture
def declare(connect, channel, unique):
    """declare(type, **arguments) -> the name of a new exchange."""

    def declare_or_skip(exchange_type, **arguments):
        exchange = unique(exchange_type)
        trial = connect().channel()
        try:
            trial.exchange_declare(exchange, exchange_type)
        except ConnectionClosedByBroker as error:
            if error.reply_text != f"COMMAND_INVALID - unknown exchange type '{exchange_type}'":
                raise
            pytest.skip(f"not run: the broker has no exchange type {exchange_type}")
        trial.exchange_delete(exchange)
        named = {name.replace("_", "-"): value for name, value in arguments.items()}
        channel.exchange_declare(exchange, exchange_type, arguments=named)
        return exchange

    return declare_or_skip


@pytest.fixture
def queues(channel):
    """Four exclusive queues, in the order of their names."""
    return sorted(channel.queue_declare("", exclusive=True).method.queue for _ in range(4))


@pytest.fixture
def reached(channel, queues, empty):
    """reached(exchange, routing key): the queues that got the message, as digits 0 to 3."""

    def publish(exchange, routing_key="", **properties):
        channel.basic_publish(exchange, routing_key, b"", BasicProperties(**properties))
        channel.queue_declare(queues[0], passive=True)
        return "".join(str(n) for n, queue in enumerate(queues) for _ in empty(channel, queue))

    return publish


@pytest.fixture
def weighted(channel, declare, queues):
    """weighted(**arguments): an x-consistent-hash exchange with 1 + 3 + 2 + 10 buckets."""

    def declare_and_bind(**arguments):
        exchange = declare("x-consistent-hash", **arguments)
        for queue, weight in zip(queues, ("1", "3", "2", "10"), strict=True):
            channel.queue_bind(queue, exchange, weight)
        return exchange

    return declare_and_bind


# --- x-consistent-hash ------------------------------------------------------------------------


def test_consistent_hash_of_the_routing_key(weighted, reached):
    exchange = weighted()
    places = [reached(exchange, f"key.{number}") for number in range(12)]
    assert "".join(places) == "333132301133"
    assert all(len(each) == 1 for each in places)


def test_consistent_hash_ignores_cc(weighted, reached):
    exchange = weighted()
    places = [reached(exchange, f"key.{n}", headers={"CC": [f"o{n}", "b"]}) for n in range(8)]
    assert places == ["3", "3", "3", "1", "3", "2", "3", "0"]


def test_consistent_hash_closes_up_when_a_binding_goes(channel, weighted, queues, reached):
    exchange = weighted()
    channel.queue_unbind(queues[1], exchange, "3")
    places = [reached(exchange, f"key.{number}") for number in range(12)]
    assert "".join(places) == "333333302233"


def test_consistent_hash_of_a_header(weighted, reached):
    exchange = weighted(hash_header="h")
    by_value = [reached(exchange, "same", headers={"h": f"t{n}"}) for n in range(30)]
    assert set(by_value) >= {"0", "1", "3"}
    assert [reached(exchange, f"other.{n}", headers={"h": f"t{n}"}) for n in range(30)] == by_value


@pytest.mark.parametrize("name", ["message_id", "correlation_id"])
def test_consistent_hash_of_a_property(weighted, reached, name):
    exchange = weighted(hash_property=name)
    places = [reached(exchange, "same", **{name: f"m{number}"}) for number in range(16)]
    assert "".join(places) == "1333131331333323"


def test_consistent_hash_of_the_timestamp(weighted, reached):
    exchange = weighted(hash_property="timestamp")
    places = [reached(exchange, "same", timestamp=1_700_000_000 + second) for second in range(16)]
    assert "".join(places) == "3303313113331123"


@pytest.mark.parametrize("argument", ["hash_header", "hash_property"])
def test_consistent_hash_of_what_is_not_there(weighted, reached, argument):
    exchange = weighted(**{argument: "message_id"})
    assert [reached(exchange, f"key.{number}") for number in range(4)] == ["1"] * 4


def test_consistent_hash_counts_only_the_first_binding_of_a_queue(
    channel, weighted, queues, reached
):
    exchange = weighted()
    channel.queue_bind(queues[0], exchange, "1000")
    places = [reached(exchange, f"key.{number}") for number in range(8)]
    assert "".join(places) == "33313230"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            {"hash-header": "a", "hash-property": "message_id"},
            "hash-header and hash-property are mutually exclusive",
        ),
        ({"hash-property": "foo"}, "Unsupported property: foo"),
    ],
)
def test_consistent_hash_refuses_bad_arguments(channel, declare, unique, arguments, text):
    declare("x-consistent-hash")
    with pytest.raises(ChannelClosedByBroker) as closed:
        channel.exchange_declare(unique("bad"), "x-consistent-hash", arguments=arguments)
    assert closed.value.args == (406, f"PRECONDITION_FAILED - {text}")


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("abc", 'The binding key must be an integer: <<"abc">>'),
        ("", "The binding key must be an integer: <<>>"),
        ("1.5", 'The binding key must be an integer: <<"1.5">>'),
        ("0", "The binding key must be greater than 0"),
        ("-3", "The binding key must be greater than 0"),
    ],
)
def test_consistent_hash_refuses_what_is_no_weight(channel, declare, queue, key, text):
    exchange = declare("x-consistent-hash")
    with pytest.raises(ChannelClosedByBroker) as closed:
        channel.queue_bind(queue, exchange, key)
    assert closed.value.args == (406, f"PRECONDITION_FAILED - {text}")


# --- x-random ---------------------------------------------------------------------------------


def test_random_picks_one_queue_for_each_message(channel, declare, queues, reached):
    exchange = declare("x-random")
    for queue in queues:
        channel.queue_bind(queue, exchange, "any")
    places = [reached(exchange, "key", headers={"CC": ["any"]}) for _ in range(100)]
    # A queue is left out once in 10^12 runs.
    assert set(places) == {"0", "1", "2", "3"}


def test_random_without_bindings_is_unroutable(channel, declare):
    exchange = declare("x-random")
    channel.confirm_delivery()
    with pytest.raises(UnroutableError):
        channel.basic_publish(exchange, "key", b"", mandatory=True)


# --- x-modulus-hash ---------------------------------------------------------------------------


def test_modulus_hash_of_the_routing_key(channel, declare, queues, reached):
    exchange = declare("x-modulus-hash")
    for queue in reversed(queues):
        channel.queue_bind(queue, exchange, "")
    places = [reached(exchange, f"key.{number}") for number in range(12)]
    assert "".join(places) == "310010010120"


def test_modulus_hash_of_all_routing_keys(channel, declare, queues, reached):
    exchange = declare("x-modulus-hash")
    for queue in queues:
        channel.queue_bind(queue, exchange, "")
    places = [
        reached(exchange, f"key.{n}", headers={"CC": [f"o{n}", "b"], "BCC": ["z"]})
        for n in range(12)
    ]
    assert "".join(places) == "130122210123"


def test_modulus_hash_counts_bindings_by_key_first(channel, declare, queues, reached):
    exchange = declare("x-modulus-hash")
    for queue in queues:
        channel.queue_bind(queue, exchange, "")
    channel.queue_bind(queues[0], exchange, "z")
    channel.queue_bind(queues[3], exchange, "a")
    places = [reached(exchange, f"key.{number}") for number in range(12)]
    assert "".join(places) == "112303333120"


# --- x-recent-history -------------------------------------------------------------------------


def test_recent_history_hands_the_last_messages_to_a_new_binding(channel, declare, queue):
    exchange = declare("x-recent-history", x_recent_history_length=3)
    for number in range(5):
        channel.basic_publish(exchange, f"key.{number}", str(number))
    channel.queue_bind(queue, exchange)
    channel.basic_publish(exchange, "last", "5")
    got = [channel.basic_get(queue, auto_ack=True) for _ in range(5)]
    assert [(method.routing_key, method.redelivered, body) for method, _, body in got[:4]] == [
        ("key.2", False, b"2"),
        ("key.3", False, b"3"),
        ("key.4", False, b"4"),
        ("last", False, b"5"),
    ]
    assert got[4][0] is None


def test_recent_history_remembers_twenty(channel, declare, queue, empty):
    exchange = declare("x-recent-history")
    for number in range(25):
        channel.basic_publish(exchange, "", str(number))
    channel.queue_bind(queue, exchange)
    assert empty(channel, queue) == [str(number).encode() for number in range(5, 25)]


def test_recent_history_does_not_store_what_asks_for_that(channel, declare, queue, empty):
    exchange = declare("x-recent-history")
    for number, no_store in enumerate([True, False]):
        headers = {"x-recent-history-no-store": no_store}
        channel.basic_publish(exchange, "", str(number), BasicProperties(headers=headers))
    channel.queue_bind(queue, exchange)
    assert empty(channel, queue) == [b"1"]


def test_recent_history_is_handed_on_for_every_new_binding(channel, declare, queue, empty):
    exchange = declare("x-recent-history")
    channel.basic_publish(exchange, "", "1")
    for key in ("one", "two", "two"):
        channel.queue_bind(queue, exchange, key)
    assert empty(channel, queue) == [b"1", b"1"]


def test_recent_history_goes_through_a_bound_exchange(channel, declare, queue, unique, empty):
    exchange, bound = declare("x-recent-history"), unique("direct")
    channel.exchange_declare(bound, "direct")
    channel.queue_bind(queue, bound, "key")
    channel.basic_publish(exchange, "key", "1")
    channel.exchange_bind(bound, exchange)
    assert empty(channel, queue) == [b"1"]


@pytest.mark.parametrize(
    ("length", "shown"), [(0, "0"), (-1, "-1"), ("five", '<<"five">>'), (True, "true")]
)
def test_recent_history_refuses_what_is_no_length(channel, declare, unique, length, shown):
    declare("x-recent-history")
    arguments = {"x-recent-history-length": length}
    with pytest.raises(ChannelClosedByBroker) as closed:
        channel.exchange_declare(unique("bad"), "x-recent-history", arguments=arguments)
    assert closed.value.args == (
        406,
        f"PRECONDITION_FAILED - Invalid argument {shown}, 'x-recent-history-length' must be a "
        "positive integer",
    )


# --- all of them ------------------------------------------------------------------------------


def test_another_type_is_told_in_quotes(channel, declare):
    exchange = declare("x-modulus-hash")
    with pytest.raises(ChannelClosedByBroker) as closed:
        channel.exchange_declare(exchange, "direct")
    assert closed.value.args[1].endswith("received 'direct' but current is ''x-modulus-hash''")
