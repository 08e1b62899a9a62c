"""What all exchanges have in common.

Each type is a small class with `added`, `removed` and `match`: see `exchanges`. Walking on from
exchange to exchange, alternate exchanges included, is the vhost's business.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, ClassVar, Protocol

from ..amqp.fields import Table
from .binding import Binding, BindingKey, binding_key
from .message import Message
from .policy import Definition

if TYPE_CHECKING:
    from .binding import Destination


class Holding(Protocol):
    """Something with messages in memory, which counts in the memory budget."""

    @property
    def memory_bytes(self) -> int:
        """About how much memory they take."""
        ...

    def page_out(self) -> None:
        """Take less, if that is possible."""
        ...


_ALTERNATE = "alternate-exchange"


def _no_randomness(end: int) -> int:
    raise AssertionError("this exchange was not given any randomness")


def _no_clock() -> int:
    raise AssertionError("this exchange was not given a clock")


class Exchange(ABC):
    """One exchange of a vhost, with the bindings that have it as their source.

    `random_below` gives a random number from 0 up to its argument, `wall_ms` the time in
    milliseconds since 1970. Raises PreconditionFailed for arguments that the type refuses.
    """

    type: ClassVar[str]

    __slots__ = (
        "alternate",
        "arguments",
        "auto_delete",
        "bindings",
        "destination_of",
        "durable",
        "internal",
        "name",
        "random_below",
        "vhost_name",
        "wall_ms",
    )

    def __init__(
        self,
        vhost_name: str,
        name: str,
        *,
        durable: bool = False,
        auto_delete: bool = False,
        internal: bool = False,
        arguments: Table | None = None,
        random_below: Callable[[int], int] = _no_randomness,
        wall_ms: Callable[[], int] = _no_clock,
    ):
        self.vhost_name = vhost_name
        self.name = name
        self.durable = durable
        self.auto_delete = auto_delete
        self.internal = internal
        self.arguments: Table = arguments or {}
        self.alternate: str | None = None
        self.follow({})
        self.bindings: dict[BindingKey, Binding] = {}
        self.destination_of: dict[Binding, None] = {}
        self.random_below = random_below
        self.wall_ms = wall_ms
        self.prepare()

    def __repr__(self) -> str:
        return f"exchange '{self.name or 'amq.default'}' in vhost '{self.vhost_name}'"

    def follow(self, policy: Definition) -> None:
        """Do what policies set, where the arguments say nothing else."""
        argument, by_policy = self.arguments.get(_ALTERNATE), policy.get(_ALTERNATE)
        if argument is not None:
            self.alternate = argument.text
        else:
            self.alternate = by_policy if isinstance(by_policy, str) else None

    def bind(self, binding: Binding) -> bool:
        """Add a binding; False if it was there already. Raises PreconditionFailed for bad
        arguments.
        """
        if binding.key in self.bindings:
            return False
        self.added(binding)
        self.bindings[binding.key] = binding
        return True

    def has(self, destination: "Destination", routing_key: str, arguments: Table) -> bool:
        """Whether there is such a binding."""
        return binding_key(destination, routing_key, arguments) in self.bindings

    def unbind(
        self, destination: "Destination", routing_key: str, arguments: Table
    ) -> Binding | None:
        """Take a binding out; None if there is none."""
        binding = self.bindings.pop(binding_key(destination, routing_key, arguments), None)
        if binding is not None:
            self.removed(binding)
        return binding

    @property
    def routes_each_message(self) -> bool:
        """Whether `match` has to see every message: its answer does not follow from the routing
        keys, or it remembers messages.
        """
        return False

    @property
    def history(self) -> "Sequence[tuple[Sequence[str], Message]]":
        """What the destination of a new binding gets at once: messages and their routing keys."""
        return ()

    @property
    def holds(self) -> "Sequence[Holding]":
        """What it keeps in memory of the messages that have passed."""
        return ()

    @property
    def persistent(self) -> bool:
        """Whether it is to remember on disk what has passed."""
        return False

    @property
    def number(self) -> int:
        """The journal's number for what it keeps there; 0 if it keeps nothing."""
        return 0

    def end(self) -> None:
        """The exchange is deleted: let go of what it leads to and of what it keeps."""
        self.bindings.clear()

    def prepare(self) -> None:  # noqa: B027 - nothing for most types
        """Read the arguments, and set up whatever index a type keeps of its bindings."""

    def added(self, binding: Binding) -> None:  # noqa: B027 - nothing for most types
        """Take a new binding into account. Raises PreconditionFailed if it makes no sense."""

    def removed(self, binding: Binding) -> None:  # noqa: B027 - nothing for most types
        """No longer take a binding into account."""

    @abstractmethod
    def match(
        self, routing_keys: Sequence[str], message: Message | None
    ) -> Iterable["Destination"]:
        """The destinations that bindings lead to; repeats are allowed.

        `routing_keys` are the one that the message was published with, then those of CC and BCC.
        `message` is there if `routes_each_message`.
        """
