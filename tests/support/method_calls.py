"""leveret's methods with their wire types as pamqp has them, and strategies for calls of them."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, cast

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from pamqp import base, commands

from leveret.amqp import method_codec as method_codec  # which has all methods declared
from leveret.amqp.method_ids import METHOD_IDS, Method
from wire import any_bytes, long, longlong, octet, short, shortstr, table

METHODS: dict[str, type[Method]] = {kind.__name__: kind for kind in METHOD_IDS}
NUMBERS = {
    name: class_id << 16 | method_id
    for name, kind in METHODS.items()
    for class_id, method_id in [METHOD_IDS[kind]]
}
ORACLES: dict[int, type[base.Frame]] = commands.INDEX_MAPPING

# pamqp lacks the access class, which RabbitMQ still answers.
ACCESS = {
    "AccessRequest": ("shortstr", "bit", "bit", "bit", "bit", "bit"),
    "AccessRequestOk": ("short",),
}


def field_types(name: str) -> Sequence[str]:
    """The wire types of a method's fields, as pamqp has them."""
    if name in ACCESS:
        return ACCESS[name]
    oracle = ORACLES[NUMBERS[name]]
    return [oracle.amqp_type(slot) for slot in oracle.attributes()]


def field_names(name: str) -> list[str]:
    """The names of a method's fields, in wire order."""
    return list(cast("Any", METHODS[name])._fields)


def call_of(name: str, by_type: Mapping[str, object]) -> Method:
    """A call of a method with one value for all fields of a wire type."""
    kind = cast("Callable[..., Method]", METHODS[name])
    return kind(*(by_type[wire_type] for wire_type in field_types(name)))


@cache
def calls(name: str, **changed: SearchStrategy[Any]) -> SearchStrategy[Method]:
    """Calls of a method; `changed` has other strategies for wire types."""
    by_type: dict[str, SearchStrategy[Any]] = {
        "bit": st.booleans(),
        "octet": octet,
        "short": short,
        "long": long,
        "longlong": longlong,
        "shortstr": shortstr,
        "longstr": any_bytes,
        "table": table,
        **changed,
    }
    return st.builds(METHODS[name], *(by_type[kind] for kind in field_types(name)))


any_call: SearchStrategy[Method] = st.sampled_from(sorted(METHODS)).flatmap(calls)
