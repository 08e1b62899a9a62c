"""A program that has a leveret in itself, and takes rabbitmqctl's commands for it.

    python operated_leveret.py FOLDER

prints `ready on <host>:<port>`, then reads from standard input: one command a line, as a JSON list
of its words. Each is answered on standard output with a line: a JSON list of rows, once what has
been set is on disk, or a text that says what is wrong. Runs in leveret's own environment, and does
what any program does that embeds a broker: its `Administration` is called between `begin_turn` and
`end_turn`.
"""

import json
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
import trio

from leveret.broker.administration import (
    Administration,
    Invalid,
    NoSuchThing,
    Patterns,
    TopicPatterns,
    read_definitions,
)
from leveret.broker.configuration import Configuration, Storage
from leveret.broker.data import open_data
from leveret.broker.process import open_listeners
from leveret.broker.server import Server

Rows = list[list[str]]


COMMANDS: dict[str, Callable[..., object]] = {
    "add_user": lambda to, _, name, password: to.set_user(name, password),
    "change_password": lambda to, _, name, password: to.set_user_password(name, password),
    "delete_user": lambda to, _, name: to.delete_user(name),
    "set_user_tags": lambda to, _, name, *tags: to.set_user_tags(name, tags),
    "set_user_limits": lambda to, _, name, limits: to.set_user_limits(name, json.loads(limits)),
    "set_permissions": lambda to, given, user, *patterns: to.set_permissions(
        user, given.vhost, Patterns(*patterns)
    ),
    "clear_permissions": lambda to, given, user: to.clear_permissions(user, given.vhost),
    "set_topic_permissions": lambda to, given, user, exchange, *patterns: to.set_topic_permissions(
        user, given.vhost, {exchange: TopicPatterns(*patterns)}
    ),
    "clear_topic_permissions": lambda to, given, user: to.set_topic_permissions(
        user, given.vhost, {}
    ),
    "add_vhost": lambda to, _, name: to.set_vhost(name),
    "delete_vhost": lambda to, _, name: to.delete_vhost(name),
    "set_vhost_limits": lambda to, given, limits: to.set_vhost_limits(
        given.vhost, json.loads(limits)
    ),
    "trace_on": lambda to, given: to.set_tracing(given.vhost, True),
    "trace_off": lambda to, given: to.set_tracing(given.vhost, False),
    "set_policy": lambda *words: _set_policy(*words, operator=False),
    "set_operator_policy": lambda *words: _set_policy(*words, operator=True),
    "clear_policy": lambda to, given, name: to.delete_policy(given.vhost, name),
    "clear_operator_policy": lambda to, given, name: to.delete_policy(
        given.vhost, name, operator=True
    ),
    "set_cluster_name": lambda to, _, name: to.set_global_parameter("cluster_name", name),
    "purge_queue": lambda to, given, name: to.purge_queue(given.vhost, name),
    "delete_queue": lambda to, given, name: to.delete_queue(given.vhost, name),
    "close_connection": lambda to, _, name, reason: to.close_connection(name, reason),
    "close_all_connections": lambda to, given, reason: to.close_connections(
        reason, vhost=given.vhost
    ),
    "close_all_user_connections": lambda to, _, user, reason: to.close_connections(
        reason, user=user
    ),
    "import_definitions": lambda to, _, file: to.import_definitions(
        read_definitions(Path(file).read_bytes())
    ),
    "export_definitions": lambda to, _, file: Path(file).write_bytes(
        msgspec.json.encode(to.export_definitions())
    ),
}
LISTS: dict[str, tuple[Callable[..., Iterable[Any]], dict[str, Callable[[Any], object]]]] = {
    "list_queues": (
        lambda to, vhost: to.queue_statistics(vhost),
        {
            "name": lambda queue: queue.name,
            "messages_ready": lambda queue: queue.messages_ready,
            "messages_unacknowledged": lambda queue: queue.messages_unacknowledged,
            "consumers": lambda queue: queue.consumers,
            "policy": lambda queue: queue.policy or "",
        },
    ),
    "list_connections": (
        lambda to, _: to.connections(),
        {
            "pid": lambda connection: connection.name,
            "user": lambda connection: connection.user.name,
            "vhost": lambda connection: connection.vhost.name,
        },
    ),
    "list_channels": (
        lambda to, _: to.channels(),
        {
            "number": lambda channel: channel.number,
            "user": lambda channel: channel.connection.user.name,
        },
    ),
    "list_consumers": (
        lambda to, vhost: to.consumers(vhost=vhost),
        {
            "queue_name": lambda consumer: consumer.queue.name,
            "consumer_tag": lambda consumer: consumer.tag,
        },
    ),
}


def perform(to: Administration, words: list[str]) -> Rows:
    """Do what rabbitmqctl does with these words. Raises Invalid and NoSuchThing."""
    given, [command, *rest] = _options().parse_known_args(words)
    if command in LISTS:
        find, columns = LISTS[command]
        return [[str(columns[name](each)) for name in rest] for each in find(to, given.vhost)]
    COMMANDS[command](to, given, *rest)
    return []


def _set_policy(
    to: Administration,
    given: Namespace,
    name: str,
    pattern: str,
    definition: str,
    *,
    operator: bool,
) -> None:
    to.set_policy(
        given.vhost,
        name,
        pattern,
        json.loads(definition),
        priority=given.priority,
        applies_to=given.apply_to,
        operator=operator,
    )


def _options() -> ArgumentParser:
    options = ArgumentParser(add_help=False, allow_abbrev=False)
    options.add_argument("-p", "--vhost", default="/")
    options.add_argument("--priority", type=float, default=0)
    options.add_argument("--apply-to", default="all")
    return options


async def _operate(server: Server) -> None:
    """Do every command that comes, until there are no more."""
    administration = Administration(server.broker)
    async for line in trio.wrap_file(sys.stdin):
        on_disk = trio.Event()
        answer: Rows | str
        server.begin_turn()
        try:
            answer = perform(administration, json.loads(line))
        except (Invalid, NoSuchThing) as error:
            answer = str(error)
        administration.when_durable(on_disk.set)
        server.end_turn()
        await on_disk.wait()
        print(json.dumps(answer), flush=True)


async def _main(folder: Path) -> None:
    configuration = Configuration(storage=Storage(data_dir=str(folder)))
    [listener] = await open_listeners("127.0.0.1", 0)
    journal, recovered = open_data(configuration.storage)
    async with trio.open_nursery() as nursery:
        server = Server(configuration, nursery, journal, recovered)
        server.start([listener])
        host, port = listener.socket.getsockname()[:2]
        print(f"ready on {host}:{port}", flush=True)
        await _operate(server)
        nursery.cancel_scope.cancel()
    server.close_journal()


if __name__ == "__main__":
    trio.run(_main, Path(sys.argv[1]))
