"""Which queues a message reaches: exchange types, bindings between exchanges, alternates, CC."""

import time

import pytest
from pika import BasicProperties
from pika.exceptions import ChannelClosedByBroker

TOPIC_KEYS = ["", "a", "a.b", "a.b.c", "a..b", ".a", "a.", ".", "..", "A", "a.b."]


def test_default_exchange_routes_to_the_queue_named_by_the_key(channel, queue):
    channel.basic_publish("", queue, "hello")
    got, _, body = channel.basic_get(queue)
    assert (got.exchange, got.routing_key, body) == ("", queue, b"hello")


def test_direct_exchange_routes_on_the_whole_key(channel, queue, unique, empty):
    exchange = unique("direct")
    channel.exchange_declare(exchange, "direct")
    channel.queue_bind(queue, exchange, "red")
    channel.queue_bind(queue, exchange, "green")
    for key in ("red", "blue", "green", "red.dark", "Red", ""):
        channel.basic_publish(exchange, key, key)
    assert empty(channel, queue) == [b"red", b"green"]


def test_fanout_exchange_ignores_the_key(channel, unique, empty):
    exchange = unique("fanout")
    channel.exchange_declare(exchange, "fanout")
    queues = [channel.queue_declare("", exclusive=True).method.queue for _ in range(3)]
    for queue in queues:
        channel.queue_bind(queue, exchange, queue)
    channel.basic_publish(exchange, "whatever", "to all")
    assert [empty(channel, queue) for queue in queues] == [[b"to all"]] * 3


@pytest.mark.parametrize(
    ("pattern", "matched"),
    [
        ("#", TOPIC_KEYS),
        ("#.#", TOPIC_KEYS),
        ("*", ["a", "A"]),
        ("*.*", ["a.b", ".a", "a.", "."]),
        ("*.#", TOPIC_KEYS[1:]),
        ("", [""]),
        ("a", ["a"]),
        ("a.*", ["a.b", "a."]),
        ("*.a", [".a"]),
        ("a.#", ["a", "a.b", "a.b.c", "a..b", "a.", "a.b."]),
        ("#.b", ["a.b", "a..b"]),
        ("a.#.b", ["a.b", "a..b"]),
        ("a.*.b", ["a..b"]),
        (".", ["."]),
        ("*.", ["a.", "."]),
        ("#.", ["a.", ".", "..", "a.b."]),
        ("##", []),
        ("a*", []),
    ],
)
def test_topic_pattern_matches_word_by_word(channel, queue, unique, empty, pattern, matched):
    exchange = unique("topic")
    channel.exchange_declare(exchange, "topic")
    channel.queue_bind(queue, exchange, pattern)
    for key in TOPIC_KEYS:
        channel.basic_publish(exchange, key, key)
    assert [body.decode() for body in empty(channel, queue)] == matched


def test_topic_unbind_leaves_the_other_patterns(channel, queue, unique, empty):
    exchange = unique("topic")
    channel.exchange_declare(exchange, "topic")
    for pattern in ("a.#", "a.*", "#.b"):
        channel.queue_bind(queue, exchange, pattern)
    channel.queue_unbind(queue, exchange, "a.#")
    for key in ("a", "a.b", "c.b", "a.b.c"):
        channel.basic_publish(exchange, key, key)
    assert empty(channel, queue) == [b"a.b", b"c.b"]


@pytest.mark.parametrize(
    ("binding", "headers", "matches"),
    [
        ({"x-match": "all", "a": 1, "b": "x"}, {"a": 1, "b": "x", "c": 0}, True),
        ({"x-match": "all", "a": 1, "b": "x"}, {"a": 1}, False),
        ({"x-match": "all"}, {}, True),
        ({"x-match": "all"}, None, True),
        ({"a": 1, "b": "x"}, {"a": 1, "b": "x"}, True),
        ({"a": 1, "b": "x"}, {"b": "x"}, False),
        ({"x-match": "any", "a": 1, "b": "x"}, {"b": "x"}, True),
        ({"x-match": "any", "a": 1, "b": "x"}, {"a": 2, "b": "y"}, False),
        ({"x-match": "any"}, {"a": 1}, False),
        ({"x-match": "any", "a": 1}, None, False),
        ({"x-match": "all", "x-a": 1, "b": 2}, {"b": 2}, True),
        ({"x-match": "all-with-x", "x-a": 1, "b": 2}, {"b": 2}, False),
        ({"x-match": "all-with-x", "x-a": 1, "b": 2}, {"x-a": 1, "b": 2}, True),
        ({"x-match": "any", "x-a": 1, "b": 2}, {"x-a": 1}, False),
        ({"x-match": "any-with-x", "x-a": 1, "b": 2}, {"x-a": 1}, True),
        ({"x-match": "all", "a": None}, {"a": "anything"}, True),
        ({"x-match": "all", "a": None}, {"b": "anything"}, False),
        ({"x-match": "all", "a": 1000}, {"a": "1000"}, False),
        ({"x-match": "all", "a": True}, {"a": 1}, False),
        ({"x-match": "all", "a": "x"}, {"a": "X"}, False),
        ({"x-match": "all", "a": [1, "x"]}, {"a": [1, "x"]}, True),
        ({"x-match": "all", "a": {"b": 1}}, {"a": {"b": 1}}, True),
        ({"x-match": "all", "a": {"b": 1}}, {"a": {"b": 2}}, False),
    ],
)
def test_headers_binding_matches(channel, queue, unique, empty, binding, headers, matches):
    exchange = unique("headers")
    channel.exchange_declare(exchange, "headers")
    channel.queue_bind(queue, exchange, arguments=binding)
    channel.basic_publish(exchange, "ignored", "body", BasicProperties(headers=headers))
    assert empty(channel, queue) == ([b"body"] if matches else [])


@pytest.mark.parametrize(
    ("x_match", "explanation"),
    [
        ("some", 'value <<"some">>; expected all, any, all-with-x, or any-with-x'),
        (5, "type signedint (value 5); expected longstr"),
    ],
)
def test_unknown_x_match_is_refused(channel, queue, x_match, explanation):
    with pytest.raises(ChannelClosedByBroker) as closed:
        channel.queue_bind(queue, "amq.headers", arguments={"x-match": x_match})
    assert closed.value.args == (
        406,
        f"PRECONDITION_FAILED - Invalid x-match field {explanation}",
    )


def test_queue_gets_one_copy_however_many_bindings_match(channel, queue, unique, empty):
    exchange = unique("topic")
    channel.exchange_declare(exchange, "topic")
    for pattern in ("#", "a.#", "*.b", "a.b"):
        channel.queue_bind(queue, exchange, pattern)
    channel.basic_publish(exchange, "a.b", "once")
    assert empty(channel, queue) == [b"once"]


def test_message_goes_through_bound_exchanges_with_its_own_exchange_and_key(channel, queue, unique):
    first, second = unique("first"), unique("second")
    channel.exchange_declare(first, "direct")
    channel.exchange_declare(second, "topic")
    channel.exchange_bind(second, first, "a.b")
    channel.queue_bind(queue, second, "a.*")
    channel.basic_publish(first, "a.b", "through both")
    got, _, body = channel.basic_get(queue)
    assert (got.exchange, got.routing_key, body) == (first, "a.b", b"through both")
    channel.exchange_unbind(second, first, "a.b")
    channel.basic_publish(first, "a.b", "not any more")
    assert channel.basic_get(queue)[0] is None


def test_loop_of_exchanges_delivers_one_copy(channel, queue, unique, empty):
    first, second = unique("first"), unique("second")
    for exchange in (first, second):
        channel.exchange_declare(exchange, "fanout")
        channel.queue_bind(queue, exchange)
    channel.exchange_bind(second, first)
    channel.exchange_bind(first, second)
    channel.basic_publish(first, "", "once")
    assert empty(channel, queue) == [b"once"]


def test_alternate_exchange_gets_what_is_not_routed(channel, queue, unique, empty):
    alternate, exchange = unique("alternate"), unique("exchange")
    channel.exchange_declare(alternate, "fanout")
    channel.exchange_declare(exchange, "direct", arguments={"alternate-exchange": alternate})
    unrouted = channel.queue_declare("", exclusive=True).method.queue
    channel.queue_bind(unrouted, alternate)
    channel.queue_bind(queue, exchange, "known")
    channel.basic_publish(exchange, "known", "1")
    channel.basic_publish(exchange, "unknown", "2")
    got, _, body = channel.basic_get(unrouted)
    assert (got.exchange, got.routing_key, body) == (exchange, "unknown", b"2")
    assert (empty(channel, queue), empty(channel, unrouted)) == ([b"1"], [])


def test_alternate_exchanges_form_a_chain_and_loops_end(channel, queue, unique, empty):
    names = [unique(word) for word in ("first", "second", "third")]
    for name, alternate in zip(names, names[1:] + names[:1], strict=True):
        channel.exchange_declare(name, "direct", arguments={"alternate-exchange": alternate})
    channel.queue_bind(queue, names[2], "key")
    channel.basic_publish(names[0], "key", "third time lucky")
    channel.basic_publish(names[0], "nowhere", "round and round")
    assert empty(channel, queue) == [b"third time lucky"]


def test_alternate_exchange_may_be_missing(channel, unique):
    exchange = unique("exchange")
    arguments = {"alternate-exchange": unique("missing")}
    channel.exchange_declare(exchange, arguments=arguments)
    channel.basic_publish(exchange, "key", "nowhere")
    channel.exchange_declare(exchange, passive=True)


def test_cc_and_bcc_headers_add_routing_keys(channel, unique, empty):
    queues = [channel.queue_declare("", exclusive=True).method.queue for _ in range(3)]
    headers = {"CC": [queues[1], queues[0]], "BCC": [queues[2]]}
    channel.basic_publish("", queues[0], "copies", BasicProperties(headers=headers))
    for queue in queues:
        got, properties, body = channel.basic_get(queue)
        assert (got.routing_key, body) == (queues[0], b"copies")
        assert properties.headers == {"CC": [queues[1], queues[0]]}
        assert empty(channel, queue) == []


@pytest.mark.parametrize("name", ["CC", "BCC"])
def test_cc_and_bcc_must_be_lists(channel, queue, name):
    channel.confirm_delivery()
    with pytest.raises(ChannelClosedByBroker) as closed:
        channel.basic_publish("", queue, "", BasicProperties(headers={name: queue}))
    assert closed.value.args == (
        406,
        f'PRECONDITION_FAILED - invalid message: {{unacceptable_type_in_header,"{name}",longstr}}',
    )


def test_cc_and_bcc_lead_dead_letters_too(channel, queue, unique):
    dead_letters, source = unique("dead"), unique("dying")
    channel.exchange_declare(dead_letters, "direct")
    channel.queue_declare(source, arguments={"x-dead-letter-exchange": dead_letters})
    by_key, by_cc = (channel.queue_declare("", exclusive=True).method.queue for _ in range(2))
    for bound, key in ((by_key, source), (by_cc, "cc"), (queue, "bcc")):
        channel.queue_bind(bound, dead_letters, key)
    headers = {"CC": ["cc"], "BCC": ["bcc"]}
    channel.basic_publish("", source, "copies", BasicProperties(headers=headers))
    channel.basic_reject(channel.basic_get(source)[0].delivery_tag, requeue=False)
    deadline = time.monotonic() + 5
    for bound in (by_key, by_cc, queue):
        while (got := channel.basic_get(bound, auto_ack=True))[0] is None:
            assert time.monotonic() < deadline, "no dead letter"
            time.sleep(0.02)
        assert got[1].headers["x-death"][0]["routing-keys"] == [source, "cc"]
