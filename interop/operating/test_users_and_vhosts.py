"""What an operator does about users and vhosts while clients are connected; with pika."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pika
import pytest
from operators import PASSWORD, CommandError, told_to_close
from pika.exceptions import (
    ChannelClosedByBroker,
    ConnectionClosedByBroker,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
)

GUESSES = 20
PATIENCE_S = 5


def refused(call: Callable[..., object], *arguments: object) -> str:
    with pytest.raises(ChannelClosedByBroker) as closed:
        call(*arguments)
    assert closed.value.reply_code == 403
    return closed.value.reply_text


# --- vhosts -----------------------------------------------------------------------------------


def test_vhost_can_be_entered_by_those_who_are_given_permissions_in_it(
    operate, vhost, user, connect
):
    operate("clear_permissions", "-p", vhost, user)
    with pytest.raises(ProbableAccessDeniedError):
        connect(user, PASSWORD)
    operate("set_permissions", "-p", vhost, user, "", "", "")
    assert connect(user, PASSWORD).is_open


def test_vhost_that_is_not_there_cannot_be_entered(operate, vhost, connect):
    operate("delete_vhost", vhost)
    with pytest.raises(ProbableAccessDeniedError, match=f"vhost {vhost} not found"):
        connect()


def test_deleting_a_vhost_closes_its_connections(operation, operate, vhost, connect):
    inside, outside = connect(), connect(vhost=operation[0].vhost)
    operate("delete_vhost", vhost)
    assert told_to_close(inside) == (320, f"CONNECTION_FORCED - vhost '{vhost}' is deleted")
    outside.channel()


def test_vhost_made_anew_is_empty_and_nobody_may_enter_it(operation, operate, vhost, connect):
    channel = connect().channel()
    channel.queue_declare("q", durable=True)
    channel.exchange_declare("x", durable=True)
    channel.connection.close()
    operate("delete_vhost", vhost)
    operate("add_vhost", vhost)
    with pytest.raises(ProbableAccessDeniedError):
        connect()
    operate("set_permissions", "-p", vhost, operation[0].user, ".*", ".*", ".*")
    for declare in ("queue_declare", "exchange_declare"):
        with pytest.raises(ChannelClosedByBroker, match="NOT_FOUND"):
            getattr(connect().channel(), declare)("q", passive=True)


def test_vhost_takes_as_many_connections_as_its_limit_says(operate, vhost, connect):
    first = connect()
    operate("set_vhost_limits", "-p", vhost, '{"max-connections": 1}')
    with pytest.raises(ProbableAccessDeniedError, match=r"connection limit \(1\) is reached"):
        connect()
    first.channel()  # those who are in stay
    operate("set_vhost_limits", "-p", vhost, '{"max-connections": -1}')
    assert connect().is_open


def test_vhost_takes_as_many_queues_as_its_limit_says(operate, vhost, connect):
    connection = connect()
    connection.channel().queue_declare("first")
    operate("set_vhost_limits", "-p", vhost, '{"max-queues": 1}')
    connection.channel().queue_declare("first")
    with pytest.raises(ChannelClosedByBroker) as closed:
        connection.channel().queue_declare("second")
    assert closed.value.args == (
        406,
        "PRECONDITION_FAILED - cannot declare queue 'second': queue limit in vhost"
        f" '{vhost}' (1) is reached",
    )
    operate("set_vhost_limits", "-p", vhost, "{}")
    connection.channel().queue_declare("second")


# --- users ------------------------------------------------------------------------------------


def test_password_that_is_changed_counts_for_who_logs_in_from_then_on(operate, user, connect):
    before = connect(user, PASSWORD)
    operate("change_password", user, "another")
    with pytest.raises(ProbableAuthenticationError):
        connect(user, PASSWORD)
    assert connect(user, "another").is_open
    before.channel()


def test_deleting_a_user_closes_their_connections(operate, user, connect):
    theirs, other = connect(user, PASSWORD), connect()
    operate("delete_user", user)
    assert told_to_close(theirs) == (320, f"CONNECTION_FORCED - user '{user}' is deleted")
    other.channel()
    with pytest.raises(ProbableAuthenticationError):
        connect(user, PASSWORD)


def test_permissions_hold_for_connections_that_are_open(operate, vhost, user, connect):
    connection = connect(user, PASSWORD)
    operate("set_permissions", "-p", vhost, user, "^a", "^a", "^a")
    connection.channel().queue_declare("a-queue")
    assert refused(connection.channel().queue_declare, "b-queue") == (
        f"ACCESS_REFUSED - access to queue 'b-queue' in vhost '{vhost}' refused for user '{user}'"
    )
    operate("set_permissions", "-p", vhost, user, "^b", "", "")
    connection.channel().queue_declare("b-queue")
    refused(connection.channel().queue_purge, "a-queue")


def test_topic_permissions_hold_until_they_are_cleared(operate, vhost, user, connect):
    connection = connect(user, PASSWORD)
    operate("set_topic_permissions", "-p", vhost, user, "amq.topic", "^own[.]", "^own[.]")
    channel = connection.channel()
    queue = channel.queue_declare("", exclusive=True).method.queue
    channel.queue_bind(queue, "amq.topic", "own.#")
    assert refused(channel.queue_bind, queue, "amq.topic", "#") == (
        "ACCESS_REFUSED - access to topic '#' in exchange 'amq.topic' in vhost"
        f" '{vhost}' refused for user '{user}'"
    )
    operate("clear_topic_permissions", "-p", vhost, user)
    connection.channel().queue_bind(queue, "amq.topic", "#")


def test_who_becomes_an_impersonator_may_publish_in_the_name_of_others(operate, user, connect):
    def publish() -> None:
        channel = connect(user, PASSWORD).channel()
        channel.confirm_delivery()
        channel.basic_publish("amq.direct", "", b"", pika.BasicProperties(user_id="somebody"))

    with pytest.raises(ChannelClosedByBroker, match="user_id property set to 'somebody'"):
        publish()
    operate("set_user_tags", user, "impersonator")
    publish()


def test_user_has_as_many_connections_and_channels_as_the_limits_say(operate, user, connect):
    connection = connect(user, PASSWORD)
    operate("set_user_limits", user, '{"max-connections": 1, "max-channels": 1}')
    with pytest.raises(ProbableAccessDeniedError, match=r"user connection limit \(1\) is reached"):
        connect(user, PASSWORD)
    connection.channel()
    with pytest.raises(ConnectionClosedByBroker) as closed:
        connection.channel()
    assert closed.value.args == (
        530,
        f"NOT_ALLOWED - number of channels opened for user '{user}' has reached the maximum"
        " allowed user limit of (1)",
    )
    operate("set_user_limits", user, '{"max-connections": -1, "max-channels": -1}')
    for _ in range(2):
        connect(user, PASSWORD).channel()


@pytest.mark.parametrize("pattern", ["(", "(?r)a", "(?<n>a)(?<n>b)", r"[\N]"])
def test_pattern_that_makes_no_sense_is_refused(operate, vhost, user, connect, pattern):
    with pytest.raises(CommandError, match=r"regex|regular expression"):
        operate("set_permissions", "-p", vhost, user, pattern, ".*", ".*")
    connect(user, PASSWORD).channel().queue_declare("q")


# --- connections ------------------------------------------------------------------------------


def test_connections_of_a_user_are_closed_with_the_reason(operate, user, connect):
    theirs, other = connect(user, PASSWORD), connect()
    operate("close_all_user_connections", user, "maintenance")
    assert told_to_close(theirs) == (320, "CONNECTION_FORCED - maintenance")
    other.channel()
    assert connect(user, PASSWORD).is_open


def test_connections_in_a_vhost_are_closed_with_the_reason(operation, operate, vhost, connect):
    inside, outside = connect(), connect(vhost=operation[0].vhost)
    operate("close_all_connections", "--vhost", vhost, "maintenance")
    assert told_to_close(inside) == (320, "CONNECTION_FORCED - maintenance")
    outside.channel()


def test_one_connection_is_found_and_closed_with_the_reason(operate, vhost, user, connect):
    one, other = connect(user, PASSWORD), connect()
    one.channel()
    assert ["1", user] in operate("list_channels", "number", "user")
    [name] = [
        name
        for name, theirs, where in operate("list_connections", "pid", "user", "vhost")
        if (theirs, where) == (user, vhost)
    ]
    operate("close_connection", name, "enough")
    assert told_to_close(one) == (320, "CONNECTION_FORCED - enough")
    other.channel()


def test_name_of_the_cluster_is_told_to_who_connects(operate, connect):
    operate("set_cluster_name", "the shop")
    assert connect()._impl.server_properties["cluster_name"] == "the shop"


# --- passwords --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["user", "nobody"])
def test_who_guesses_passwords_is_refused_and_keeps_nobody_waiting(user, connect, name):
    # An unknown name is refused in the same words, and after the same work, as a known one.
    guessed = user if name == "user" else "nobody"
    served = connect().channel()
    with ThreadPoolExecutor(GUESSES) as guessing:
        guesses = [guessing.submit(connect, guessed, f"guess {n}") for n in range(GUESSES)]
        began = time.monotonic()
        served.queue_declare("q")
        assert connect(user, PASSWORD).is_open
        assert time.monotonic() - began < PATIENCE_S
        errors = [guess.exception() for guess in guesses]
    assert {type(error) for error in errors} == {ProbableAuthenticationError}
    assert {str(error) for error in errors} == {
        "ConnectionClosedByBroker: (403) 'ACCESS_REFUSED - Login was refused using authentication"
        " mechanism PLAIN. For details see the broker logfile.'"
    }
