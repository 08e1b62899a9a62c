"""Every method, encoded and decoded by leveret and by pamqp."""

import datetime
import decimal
import struct
from collections.abc import Iterable
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from pamqp import base, frame

from leveret.amqp.fields import Field
from leveret.amqp.method_codec import decode, encode
from leveret.amqp.method_ids import Method
from method_calls import ACCESS, METHODS, NUMBERS, ORACLES, calls, field_names, field_types
from wire import any_bytes, field_values, long, octet, short, shortstr

pytestmark = pytest.mark.filterwarnings("ignore:This command is deprecated:DeprecationWarning")

KNOWN_TO_PAMQP = [name for name in METHODS if name not in ACCESS]

OTHER_NAMES = {"exchange_type": "type"}
"""Where pamqp's name of a field is not the specification's."""

names = st.text(max_size=8)


@cache
def representable(name: str) -> SearchStrategy[Method]:
    """Calls of a method that pamqp can represent. Left out, because pamqp:

    - has long-longs signed, and the values of decimals too;
    - takes timestamps beyond 32 bits for milliseconds, and makes datetimes of them;
    - wants table names to be UTF-8, and cuts them at 128 bytes when it encodes them;
    - never equals itself with a NaN.
    """
    changed = {
        "f": st.builds(Field, st.just("f"), st.floats(width=32, allow_nan=False)),
        "d": st.builds(Field, st.just("d"), st.floats(allow_nan=False)),
        "D": st.builds(Field, st.just("D"), st.tuples(octet, st.integers(0, 2**31 - 1))),
        "T": st.builds(Field, st.just("T"), st.integers(0, 2**32 - 1)),
    }
    values = field_values(changed, names, leaves=5)
    return calls(
        name,
        longlong=st.integers(0, 2**63 - 1),
        table=st.dictionaries(names, values, max_size=3),
    )


def as_pamqp(value: Any) -> Any:
    """A value of ours as pamqp decodes it."""
    match value:
        case Field("D", (int(scale), int(number))):
            return decimal.Decimal(number) * decimal.Decimal(10) ** -scale
        case Field("T", int(seconds)):
            return datetime.datetime.fromtimestamp(seconds, tz=datetime.UTC)
        case Field("x", bytes(data)):
            return bytearray(data)
        case Field(_, inner):
            return as_pamqp(inner)
        case bytes():
            try:
                return value.decode()
            except UnicodeDecodeError:
                return value
        case dict():
            return {name: as_pamqp(field) for name, field in value.items()}
        case list():
            return [as_pamqp(field) for field in value]
        case _:
            return value


def read_by_pamqp(payload: bytes) -> base.Frame:
    framed = struct.pack(">BHI", 1, 0, len(payload)) + payload + b"\xce"
    _, _, method = frame.unmarshal(framed)
    assert isinstance(method, base.Frame)
    return method


def values_of(method: base.Frame) -> list[Any]:
    return [getattr(method, slot) for slot in method.attributes()]


pamqp_value: SearchStrategy[Any] = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**63 - 1),
        st.floats(width=32, allow_nan=False),
        st.decimals(0, 2**31 - 1, places=0),
        st.decimals(0, 1000, places=3),
        st.text(max_size=5),
        any_bytes.map(bytearray),
        st.integers(0, 2**32 - 1).map(
            lambda seconds: datetime.datetime.fromtimestamp(seconds, tz=datetime.UTC)
        ),
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=5,
)
pamqp_table = st.dictionaries(names, pamqp_value, max_size=3)
"""Tables of every type that pamqp encodes."""


@cache
def pamqp_calls(name: str) -> SearchStrategy[base.Frame]:
    """pamqp's calls of a method. Its checks of what names and reserved fields may hold are left
    out: they are no part of the encoding.
    """
    oracle = ORACLES[NUMBERS[name]]
    unchecked = type(oracle.__name__, (oracle,), {"validate": lambda self: None})
    by_type: dict[str, SearchStrategy[Any]] = {
        "bit": st.booleans(),
        "octet": octet,
        "short": short,
        "long": long,
        "longlong": st.integers(0, 2**63 - 1),
        "shortstr": shortstr,
        "longstr": st.text(max_size=20),
        "table": pamqp_table,
    }

    def build(values: Iterable[Any]) -> base.Frame:
        call = unchecked.__new__(unchecked)
        for slot, value in zip(oracle.attributes(), values, strict=True):
            setattr(call, slot, value)
        return call

    return st.tuples(*(by_type[kind] for kind in field_types(name))).map(build)


def test_every_method_that_pamqp_knows_is_here_and_access_is_too() -> None:
    access = {NUMBERS[name] for name in ACCESS}
    assert set(NUMBERS.values()) == set(ORACLES) | access
    assert access == {30 << 16 | 10, 30 << 16 | 11}


@pytest.mark.parametrize("name", KNOWN_TO_PAMQP)
def test_methods_and_their_fields_have_pamqps_names_and_order(name: str) -> None:
    oracle = ORACLES[NUMBERS[name]]
    assert oracle.name.replace(".", "") == name
    theirs = [OTHER_NAMES.get(slot, slot) for slot in oracle.attributes()]
    assert [own.rstrip("_") for own in field_names(name)] == [slot.rstrip("_") for slot in theirs]


@pytest.mark.parametrize("name", KNOWN_TO_PAMQP)
@given(st.data())
@settings(max_examples=12)
def test_pamqp_reads_what_leveret_encodes(name: str, data: st.DataObject) -> None:
    call = data.draw(representable(name))
    method = read_by_pamqp(encode(call))
    assert method.index == NUMBERS[name]
    assert values_of(method) == [as_pamqp(value) for value in call]


@pytest.mark.parametrize("name", KNOWN_TO_PAMQP)
@given(st.data())
@settings(max_examples=12)
def test_leveret_reads_what_pamqp_encodes(name: str, data: st.DataObject) -> None:
    method = data.draw(pamqp_calls(name))
    payload = struct.pack(">I", method.index) + method.marshal()
    call = decode(payload)
    assert type(call) is METHODS[name]
    assert [as_pamqp(value) for value in call] == values_of(method)
    assert encode(call) == payload
