"""The writing half of the edge: what happens when a socket does not take what there is to send."""

import pytest
import trio
from trio.testing import MockClock

from leveret.amqp.frames import HEARTBEAT_FRAME, method_frame
from leveret.amqp.methods import BasicConsume, BasicGet, BasicGetOk, BasicNack, BasicReturn
from leveret.broker.connection import ANSWERS_MAX_BYTES, Connection
from leveret.broker.consumer import OUTPUT_MARK_BYTES
from leveret.broker.queue import BATCH_MESSAGES
from leveret.broker.turn_bounds import TurnBounds
from raw_client import RawClient, logged_in, message, until
from running_server import PATIENCE_S, RunningServer, running_server, unharmed_server

pytestmark = pytest.mark.trio

SMALL_BUFFER = 4096
MORE_THAN_SOCKETS_TAKE = 16 << 20


async def fill_socket(running: RunningServer, client: RawClient) -> Connection:
    """Have more sent to a client, which must not read it, than its socket takes."""
    connection = running.connection_of(client)
    connection.send(bytes(MORE_THAN_SOCKETS_TAKE))
    running.server.end_turn()
    assert connection.output_bytes
    return connection


@pytest.fixture
def real_io_clock() -> MockClock:
    """Jumps to the next deadline once nothing has come through the sockets for a moment."""
    return MockClock(autojump_threshold=0.05)


# --- consumers --------------------------------------------------------------------------------


async def test_a_stalled_consumer_takes_no_more_than_the_mark_and_later_the_rest_in_order() -> None:
    bodies = [b"%06d" % number + bytes(number % 5000) for number in range(6000)]
    async with (
        unharmed_server() as (running, bystander),
        logged_in(running.port) as publisher,
        logged_in(running.port, receive_buffer_bytes=SMALL_BUFFER) as consumer,
    ):
        await consumer.declare("work", exclusive=True)
        await consumer.consume("work")
        connection = running.connection_of(consumer)
        largest = 0
        for start in range(0, len(bodies), 100):
            batch = bodies[start : start + 100]
            await publisher.send(b"".join(message("work", body) for body in batch))
            await bystander.is_served()
            largest = max(largest, connection.output_bytes)
        assert OUTPUT_MARK_BYTES <= largest < OUTPUT_MARK_BYTES + 10_000
        assert running.ready("work") > 1000
        with trio.fail_after(PATIENCE_S):
            for number, body in enumerate(bodies, 1):
                delivery = await consumer.delivery()
                assert (delivery.delivery_tag, delivery.body) == (number, body)


async def test_what_a_stalled_consumer_does_not_take_goes_to_the_others() -> None:
    count, body = 300, bytes(100_000)
    async with (
        unharmed_server() as (running, _),
        logged_in(running.port) as publisher,
        logged_in(running.port) as reader,
        logged_in(running.port, receive_buffer_bytes=SMALL_BUFFER) as staller,
    ):
        await publisher.declare("work")
        for consumer in (staller, reader):
            await consumer.consume("work", no_ack=False)
        stalled = running.connection_of(staller)
        read = 0

        async def read_all() -> None:
            nonlocal read
            while True:
                await reader.delivery()
                read += 1

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read_all)
            with trio.fail_after(PATIENCE_S):
                for _ in range(count):
                    await publisher.send(message("work", body))
                await until(lambda: read + len(stalled.channels[1].unsettled.deliveries) == count)
                assert read > count / 2
                # Hanging up gives back what was on its way.
                staller.sock.close()
                await until(lambda: read == count)
            nursery.cancel_scope.cancel()
        await publisher.delete("work")


async def test_a_backlog_is_delivered_in_batches_so_that_others_have_their_turn() -> None:
    count = 5 * BATCH_MESSAGES
    async with unharmed_server() as (running, _), logged_in(running.port) as client:
        await client.declare("work", exclusive=True)
        await client.send(message("work", b"x") * count)
        assert await client.message_count("work") == count
        connection = running.connection_of(client)
        delivered = connection.channels[1].unsettled
        running.server.begin_turn()
        consume = BasicConsume(0, "work", "", False, True, False, False, {})
        connection.receive(method_frame(1, consume))
        running.server.end_turn()
        assert delivered.last_tag == BATCH_MESSAGES
        with trio.fail_after(PATIENCE_S):
            await until(lambda: delivered.last_tag == count)


# --- answers ----------------------------------------------------------------------------------


async def test_a_client_that_does_not_take_its_answers_is_not_read_from_until_it_does() -> None:
    returned = message("nowhere", bytes(100_000), mandatory=True)
    count = 3 * ANSWERS_MAX_BYTES // len(returned)
    async with unharmed_server() as (running, bystander), logged_in(running.port) as client:
        connection = running.connection_of(client)

        async def publish() -> None:
            for _ in range(count):
                await client.send(returned)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(publish)
            with trio.fail_after(PATIENCE_S):
                await until(lambda: connection.output_bytes > ANSWERS_MAX_BYTES)
            await bystander.is_served()
            assert connection.output_bytes < ANSWERS_MAX_BYTES + (2 << 20)
            with trio.fail_after(PATIENCE_S):
                for _ in range(count):
                    await client.expect(BasicReturn)
                    await client.content()


async def test_requests_that_came_together_are_answered_as_the_client_takes_the_answers() -> None:
    body = bytes(1 << 20)
    count = 4 * ANSWERS_MAX_BYTES // len(body)
    async with (
        running_server() as running,
        logged_in(running.port, receive_buffer_bytes=SMALL_BUFFER) as client,
    ):
        await client.declare("work", exclusive=True)
        for _ in range(count):
            await client.send(message("work", body))
        assert await client.message_count("work") == count
        connection = running.connection_of(client)
        await client.send(method_frame(1, BasicGet(0, "work", no_ack=True)) * count)
        # There is nobody else whose turns could help, and the first timer is due after ten seconds.
        with trio.fail_after(8):
            await until(lambda: running.ready("work") < count)
            assert connection.output_bytes < ANSWERS_MAX_BYTES + (2 << 20)
            for left in range(count - 1, -1, -1):
                assert (await client.expect(BasicGetOk)).message_count == left
                await client.content()


# --- the end of a connection that has something to send -----------------------------------------


async def test_a_lost_client_whose_socket_is_full_is_hung_up_on() -> None:
    async with unharmed_server() as (running, _):
        idle = running.tasks()
        async with logged_in(running.port, receive_buffer_bytes=SMALL_BUFFER) as client:
            connection = await fill_socket(running, client)
            connection.lost("it must go")
            running.server.end_turn()
            with trio.fail_after(PATIENCE_S):
                await until(lambda: running.tasks() == idle)


async def test_missed_heartbeats_end_a_client_that_neither_reads_nor_sends(
    real_io_clock: MockClock,
) -> None:
    async with running_server() as running:
        idle = running.tasks()
        async with logged_in(
            running.port, heartbeat_s=10, receive_buffer_bytes=SMALL_BUFFER
        ) as client:
            await fill_socket(running, client)
            await trio.sleep(29)
            assert running.tasks() > idle
            await trio.sleep(2)
            assert running.tasks() == idle


async def test_a_socket_that_closes_before_its_writer_begins_costs_nothing_else() -> None:
    async with unharmed_server() as (running, _):
        for _ in range(20):  # which of the two tasks runs first is up to Trio
            async with logged_in(running.port, receive_buffer_bytes=SMALL_BUFFER) as client:
                connection = await fill_socket(running, client)
                connection.lost("it must go")
                running.server.end_turn()


async def test_an_error_while_writing_costs_only_that_connection() -> None:
    def fail() -> None:
        raise RuntimeError("a bug")

    async with (
        unharmed_server() as (running, _),
        logged_in(running.port, receive_buffer_bytes=SMALL_BUFFER) as client,
    ):
        connection = await fill_socket(running, client)
        connection.drained = fail
        with trio.fail_after(PATIENCE_S):
            await client.read_to_end()


async def test_an_error_in_what_is_sent_at_once_costs_only_that_connection(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail() -> None:
        raise RuntimeError("a bug")

    async with unharmed_server() as (running, _), logged_in(running.port) as client:
        connection = running.connection_of(client)
        connection.drained = fail
        connection.send(HEARTBEAT_FRAME)
        running.server.put_off()  # the pump has the turn in which it is sent
        with trio.fail_after(PATIENCE_S):
            await client.read_to_end()
    assert "a bug" in caplog.text


async def test_an_error_in_watching_memory_does_not_stop_the_server(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail() -> None:
        raise RuntimeError("a bug")

    async with unharmed_server() as (running, _):
        running.broker.memory.look = fail
        running.broker.alarms.on_raise()  # it is looked at again at once
        with trio.fail_after(PATIENCE_S):
            await until(lambda: "a bug" in caplog.text)


@pytest.mark.parametrize("how", ["reset", "close"])
async def test_a_client_that_vanishes_while_it_is_written_to_leaves_nothing(how: str) -> None:
    async with unharmed_server() as (running, _), logged_in(running.port) as publisher:
        async with logged_in(running.port, receive_buffer_bytes=SMALL_BUFFER) as consumer:
            await publisher.declare("work")
            await consumer.consume("work", no_ack=False)
            for _ in range(200):
                await publisher.send(message("work", bytes(100_000)))
            with trio.fail_after(PATIENCE_S):
                await until(lambda: running.connection_of(consumer).output_bytes > 0)
            if how == "reset":
                consumer.reset()
            else:
                consumer.sock.close()
            with trio.fail_after(PATIENCE_S):
                await until(lambda: running.ready("work") == 200)
        await publisher.delete("work")


async def test_what_a_client_asked_for_arrives_although_it_has_shut_down_its_sending_side() -> None:
    body = bytes(100_000)
    async with unharmed_server() as (running, _), logged_in(running.port) as client:
        await client.declare("work", exclusive=True)
        get = method_frame(1, BasicGet(0, "work", no_ack=True))
        await client.send(message("work", body) + get)
        client.sock.shutdown(trio.socket.SHUT_WR)
        with trio.fail_after(PATIENCE_S):
            await client.expect(BasicGetOk)
            await client.content()
            assert await client.read_to_end() == b""


# --- size -------------------------------------------------------------------------------------


async def test_large_bodies_pass_both_ways() -> None:
    bodies = [bytes([number]) * 20_000_000 for number in (1, 2)]
    async with unharmed_server() as (running, _), logged_in(running.port) as client:
        await client.declare("work", exclusive=True)
        await client.consume("work")

        async def publish() -> None:
            for body in bodies:
                await client.send(message("work", body))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(publish)
            with trio.fail_after(PATIENCE_S):
                for body in bodies:
                    delivery = await client.delivery()
                    # Not compared with ==, whose explanation of a difference takes for ever.
                    assert len(delivery.body) == len(body)
                    assert delivery.body.startswith(body[:1])
                    assert delivery.body.count(body[:1]) == len(body)


async def test_a_client_may_publish_a_large_body_before_it_reads_the_ones_delivered_to_it() -> None:
    # As clients with blocking sockets do that publish in the callback of a delivery.
    large = message("work", bytes(20_000_000))
    async with unharmed_server() as (running, _), logged_in(running.port) as client:
        await client.declare("work", exclusive=True)
        await client.send(large * 2)
        await client.consume("work", no_ack=False)
        with trio.fail_after(PATIENCE_S):
            await client.send(large)
            for _ in range(3):
                assert len((await client.delivery()).body) == 20_000_000


async def test_a_client_is_read_from_again_when_very_much_is_settled_without_an_answer() -> None:
    count = 10 * TurnBounds().settled
    async with running_server() as running, logged_in(running.port) as client:
        with trio.fail_after(PATIENCE_S):
            await client.declare("q")
            await client.consume("q", no_ack=False)
            await client.send(message("q", b"m") * count)
            for _ in range(count):
                await client.delivery()
            await client.send(method_frame(1, BasicNack(0, multiple=True, requeue=False)))
            channel = running.connection_of(client).channels[1]
            await until(lambda: not channel.unsettled.deliveries)
            assert await client.message_count("q") == 0
