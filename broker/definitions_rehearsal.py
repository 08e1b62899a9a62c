"""A broker to try definitions on: it has what they may refer to, and nobody is connected to it."""

from collections.abc import Collection, Generator
from copy import deepcopy
from typing import TYPE_CHECKING

from .broker import Broker
from .exchange_declaration import PREDECLARED

if TYPE_CHECKING:
    from .vhost import VirtualHost


def likeness(broker: Broker, vhosts: Collection[str]) -> Generator[None, None, Broker]:
    """Make, a bit in each step, a broker with the same users and vhosts, and in those of `vhosts`
    the same exchanges and queues, which are empty; policies are left out, nothing that may fail
    depends on them. What is done to it leaves no trace.
    """
    copy = Broker(
        broker.configuration,
        broker.unique_name,
        random_below=lambda end: 0,
        now=broker.timers.now,
    )
    copy.users = deepcopy(broker.users)
    copy.vhosts = {name: copy.new_vhost(name) for name in broker.vhosts}
    for name in broker.vhosts.keys() & set(vhosts):
        if name in broker.vhosts:
            yield from _copy(broker.vhosts[name], copy.vhosts[name])
    return copy


def add_newer(broker: Broker, copy: Broker, entry: object) -> None:
    """What others have added since the likeness was made, if an entry refers to it. A vhost is
    empty here whatever they have declared in it by now.
    """
    vhost, user = getattr(entry, "vhost", None), getattr(entry, "user", None)
    if vhost in broker.vhosts and vhost not in copy.vhosts:
        copy.vhosts[vhost] = copy.new_vhost(vhost)
    if user in broker.users and user not in copy.users:
        copy.users[user] = deepcopy(broker.users[user])


def _copy(vhost: "VirtualHost", copy: "VirtualHost") -> Generator[None, None, None]:
    copy.settings = deepcopy(vhost.settings)
    for exchange in tuple(vhost.exchanges.values()):
        if exchange.name not in ("", *PREDECLARED):
            copy.restore_exchange(
                exchange.name,
                exchange.type,
                exchange.auto_delete,
                exchange.internal,
                exchange.arguments,
            )
            yield
    for queue in tuple(vhost.queues.values()):
        copy.restore_queue(queue.name, queue.number, queue.auto_delete, queue.arguments)
        yield
