from copy import deepcopy

import pytest
from pamqp.base import Frame
from pamqp.commands import Basic, Exchange, Queue

from fake_client import FakeClient, FakeServer, message
from leveret.amqp.errors import AccessRefused
from leveret.broker.configuration import GUEST, Configuration, User
from leveret.broker.configuration import Permissions as ConfiguredPermissions
from leveret.broker.permissions import Patterns, Permissions, Right, TopicPatterns

Three = tuple[str, str, str]


def server_with(configure: str, write: str, read: str) -> FakeServer:
    """A server whose user `shop` has these rights, and with everything there to have rights on."""
    rights = ConfiguredPermissions(configure, write, read)
    server = FakeServer(Configuration(users=(GUEST, User("shop", "pw", permissions={"/": rights}))))
    guest = server.connect()
    for name in ("q", "r"):
        guest.declare(name)
    for name in ("x", "y"):
        guest.request(Exchange.Declare(exchange=name), Exchange.DeclareOk)
    return server


def refusal(kind: str, name: str) -> str:
    return f"ACCESS_REFUSED - access to {kind} '{name}' in vhost '/' refused for user 'shop'"


DEFAULT = "ACCESS_REFUSED - operation not permitted on the default exchange"


# --- which right is needed for what -----------------------------------------------------------

NONE = ("", "", "")
CASES: list[tuple[Frame, Three, tuple[str, str]]] = [
    (Queue.Declare(queue="q"), ("^q$", "", ""), ("queue", "q")),
    (Queue.Declare(queue="new"), ("^new$", "", ""), ("queue", "new")),
    (
        Queue.Declare(queue="new", arguments={"x-dead-letter-exchange": "x"}),
        ("^new$", "^x$", "^new$"),
        ("queue", "new"),
    ),
    (
        Queue.Declare(queue="q", passive=True),
        NONE,
        ("", ""),
    ),
    (Queue.Delete(queue="q"), ("^q$", "", ""), ("queue", "q")),
    (Queue.Delete(queue="nope"), ("^nope$", "", ""), ("queue", "nope")),
    (Queue.Purge(queue="q"), ("", "", "^q$"), ("queue", "q")),
    (
        Queue.Bind(queue="q", exchange="x", routing_key="k"),
        ("", "^q$", "^x$"),
        ("queue", "q"),
    ),
    (
        Queue.Unbind(queue="q", exchange="x", routing_key="k"),
        ("", "^q$", "^x$"),
        ("queue", "q"),
    ),
    (Exchange.Declare(exchange="x"), ("^x$", "", ""), ("exchange", "x")),
    (
        Exchange.Declare(exchange="new", arguments={"alternate-exchange": "y"}),
        ("^new$", "^y$", "^new$"),
        ("exchange", "new"),
    ),
    (Exchange.Declare(exchange="x", passive=True), NONE, ("", "")),
    (Exchange.Delete(exchange="x"), ("^x$", "", ""), ("exchange", "x")),
    (Exchange.Bind(destination="x", source="y"), ("", "^x$", "^y$"), ("exchange", "x")),
    (Exchange.Unbind(destination="x", source="y"), ("", "^x$", "^y$"), ("exchange", "x")),
    (Basic.Get(queue="q"), ("", "", "^q$"), ("queue", "q")),
    (Basic.Consume(queue="q"), ("", "", "^q$"), ("queue", "q")),
]


@pytest.mark.parametrize(("call", "needed", "resource"), CASES)
def test_no_more_is_needed(call: Frame, needed: Three, resource: tuple[str, str]) -> None:
    client = server_with(*needed).connect("shop", "pw")
    client.send(call)
    (answer,) = client.received()
    assert "Close" not in answer.call.name


@pytest.mark.parametrize(("call", "needed", "resource"), [case for case in CASES if any(case[1])])
def test_no_less_will_do(call: Frame, needed: Three, resource: tuple[str, str]) -> None:
    client = server_with(*NONE).connect("shop", "pw")
    client.send(call)
    class_id, method_id = call.index >> 16, call.index & 0xFFFF
    client.expect_channel_closed(403, refusal(*resource), (class_id, method_id))
    for missing in range(3):
        if not needed[missing]:
            continue
        some = [pattern if right != missing else "" for right, pattern in enumerate(needed)]
        client = server_with(some[0], some[1], some[2]).connect("shop", "pw")
        client.send(call)
        (answer,) = client.received()
        assert answer.call.reply_code == 403


@pytest.mark.parametrize(
    ("exchange", "shown", "needed"),
    [("x", "x", "^x$"), ("", "amq.default", "^amq[.]default$"), ("nope", "nope", "^nope$")],
)
def test_publishing_needs_write_on_the_exchange(exchange: str, shown: str, needed: str) -> None:
    client = server_with(".*", f"^(?!{shown}$)", ".*").connect("shop", "pw")
    client.feed(message(b"", "q", exchange=exchange) * 2)
    client.expect_channel_closed(403, refusal("exchange", shown), (60, 40))
    client = server_with("", needed, "").connect("shop", "pw")
    client.publish(b"", "q", exchange=exchange)
    answers = client.received()
    assert [each.call.reply_code for each in answers] == ([404] if exchange == "nope" else [])


def test_replies_need_the_right_to_publish_only() -> None:
    server = server_with("", "^amq[.]default$", "")
    requester, replier = server.connect(), server.connect("shop", "pw")
    requester.consume("amq.rabbitmq.reply-to", "c", no_ack=True)
    requester.publish(b"", "q", reply_to="amq.rabbitmq.reply-to")
    address = requester.get("q").properties.reply_to
    assert address
    replier.publish(b"reply", address)
    assert requester.bodies() == [b"reply"]


def test_a_generated_name_is_shown_when_it_is_refused() -> None:
    client = server_with("^q$", "", "").connect("shop", "pw")
    client.send(Queue.Declare(queue=""))
    (close,) = client.received()
    assert close.call.reply_text.startswith("ACCESS_REFUSED - access to queue 'amq.gen-")


@pytest.mark.parametrize(
    ("call", "write", "text"),
    [
        (Queue.Bind(queue="q", exchange=""), "^q$", DEFAULT),
        (Queue.Unbind(queue="q", exchange=""), "^q$", DEFAULT),
        (Queue.Bind(queue="q", exchange=""), "", refusal("queue", "q")),
        (Exchange.Bind(destination="x", source=""), "^x$", DEFAULT),
        (Exchange.Bind(destination="", source="x"), "default", DEFAULT),
        (Exchange.Bind(destination="", source="x"), "", refusal("exchange", "amq.default")),
        (Exchange.Unbind(destination="x", source=""), "", refusal("exchange", "x")),
    ],
)
def test_the_default_exchange_is_refused_between_the_two_rights_for_binding(
    call: Frame, write: str, text: str
) -> None:
    client = server_with("", write, "").connect("shop", "pw")
    client.send(call)
    class_id, method_id = call.index >> 16, call.index & 0xFFFF
    client.expect_channel_closed(403, text, (class_id, method_id))


def test_rights_are_asked_for_before_anything_is_looked_for() -> None:
    client = server_with(*NONE).connect("shop", "pw")
    client.send(Basic.Get(queue="nope"))
    client.expect_channel_closed(403, refusal("queue", "nope"), (60, 70))


# --- what patterns mean -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "granted", "refused"),
    [
        ("", [], ["", "q", "amq.default"]),
        (".*", ["", "q", "anything at all"], []),
        ("^orders[.]", ["orders.1"], ["orders", "my.orders.1", "ordersX"]),
        ("own", ["own", "mine and my own", "ownership"], ["Own", "ow n"]),
        ("^$", [], ["", "q"]),
        ("^amq[.]default$", [""], ["q"]),
    ],
)
def test_patterns_are_searched_for_anywhere(
    pattern: str, granted: list[str], refused: list[str]
) -> None:
    permissions = Permissions("shop", "/", Patterns(pattern, "", ""))
    for _ in range(2):
        for name in granted:
            permissions.check(Right.CONFIGURE, "queue", name)
        for name in refused:
            with pytest.raises(AccessRefused):
                permissions.check(Right.CONFIGURE, "queue", name)
        for right in (Right.WRITE, Right.READ):
            with pytest.raises(AccessRefused):
                permissions.check(right, "queue", "q")


def test_a_copy_has_the_same_rights_and_a_life_of_its_own() -> None:
    permissions = Permissions("shop", "/", Patterns("", ".*", ""))
    permissions.set_topics({"amq.topic": TopicPatterns("^a", "^b")})
    permissions.check(Right.WRITE, "queue", "q")
    copy = deepcopy(permissions)
    permissions.set(None)
    permissions.set_topics({})
    copy.check(Right.WRITE, "queue", "q")
    copy.check_topic(Right.WRITE, "amq.topic", "a")
    with pytest.raises(AccessRefused):
        copy.check_topic(Right.WRITE, "amq.topic", "b")
    with pytest.raises(AccessRefused):
        permissions.check(Right.WRITE, "queue", "q")


def test_remembered_decisions_are_bounded(client: FakeClient) -> None:
    permissions = client.connection.permissions
    for number in range(5000):
        permissions.check(Right.READ, "queue", f"q{number}")
    assert len(permissions._decisions) <= 4096
