"""Content headers: finding the properties, and changing one without touching the others."""

import datetime
import struct
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pamqp import commands, header

from leveret.amqp import content
from leveret.amqp.content import (
    CLUSTER_ID,
    CONTENT_TYPE,
    CORRELATION_ID,
    DELIVERY_MODE,
    HEADERS,
    PRIORITY,
    REPLY_TO,
    TIMESTAMP,
    USER_ID,
    Properties,
    content_header,
    header_entries,
)
from leveret.amqp.errors import FrameError
from leveret.amqp.fields import MAX_DEPTH, Field, decode_table, encode_field, encode_table
from leveret.amqp.wire_types import shortstr
from wire import any_bytes, any_name, damaged, field, longlong, octet, shortstr_bytes, table

# In the order of the specification, with what each is on the wire.
KINDS = {
    "content_type": "shortstr",
    "content_encoding": "shortstr",
    "headers": "table",
    "delivery_mode": "octet",
    "priority": "octet",
    "correlation_id": "shortstr",
    "reply_to": "shortstr",
    "expiration": "shortstr",
    "message_id": "shortstr",
    "timestamp": "timestamp",
    "type": "shortstr",
    "user_id": "shortstr",
    "app_id": "shortstr",
    "cluster_id": "shortstr",
}
FLAGS: dict[str, int] = {name: getattr(content, name.upper()) for name in KINDS}
ENCODED = {
    "shortstr": shortstr_bytes,
    "octet": octet.map(lambda number: bytes((number,))),
    "timestamp": st.binary(min_size=8, max_size=8),
    "table": table.map(encode_table),
}
SAMPLE = {
    "content_type": shortstr("text/plain"),
    "content_encoding": shortstr("utf-8"),
    "headers": encode_table({"a": Field("S", b"1"), "b": Field("A", [Field("V", None)])}),
    "delivery_mode": b"\2",
    "priority": b"\5",
    "correlation_id": shortstr("c"),
    "reply_to": shortstr("r"),
    "expiration": shortstr("60000"),
    "message_id": shortstr("m"),
    "timestamp": struct.pack(">Q", 1_700_000_000),
    "type": shortstr("t"),
    "user_id": shortstr("guest"),
    "app_id": shortstr("a"),
    "cluster_id": shortstr(""),
}

Encoded = dict[str, bytes]
encoded_values: st.SearchStrategy[Encoded] = st.fixed_dictionaries(
    {}, optional={name: ENCODED[kind] for name, kind in KINDS.items()}
)


def raw(values: Encoded) -> bytes:
    """Property flags and list with these encoded values."""
    flags = sum(FLAGS[name] for name in values)
    return struct.pack(">H", flags) + b"".join(values[name] for name in KINDS if name in values)


def refusal(data: bytes) -> FrameError | None:
    """The error if these are no properties; any other error fails the test."""
    try:
        Properties(data)
    except FrameError as error:
        return error
    return None


def assert_refused(data: bytes) -> None:
    error = refusal(data)
    assert error is not None
    assert error.explanation == "cannot decode the properties of a content header"
    assert error.at is None


# --- finding ----------------------------------------------------------------------------------


def test_flags_stand_in_the_specifications_order_from_the_highest_bit_down() -> None:
    assert list(FLAGS.values()) == [1 << bit for bit in range(15, 1, -1)]
    assert (CONTENT_TYPE, HEADERS, CLUSTER_ID) == (0x8000, 0x2000, 0x0004)


@pytest.mark.slow
@given(encoded_values)
@example({})
@example(SAMPLE)
def test_every_property_is_found_where_it_stands(values: Encoded) -> None:
    data = raw(values)
    properties = Properties(data)
    assert properties.raw == data
    assert properties.flags == sum(FLAGS[name] for name in values)
    found = {flag: data[start:end] for flag, (start, end) in properties.spans.items()}
    assert found == {FLAGS[name]: encoded for name, encoded in values.items()}


@pytest.mark.slow
@given(encoded_values)
@example({})
@example(SAMPLE)
def test_every_property_is_read_by_its_kind_and_none_if_absent(values: Encoded) -> None:
    properties = Properties(raw(values))
    for name, kind in KINDS.items():
        encoded = values.get(name)
        if kind == "shortstr":
            text = properties.text(FLAGS[name])
            assert (None if text is None else shortstr(text)) == encoded
        elif kind == "octet":
            assert properties.octet(FLAGS[name]) == (None if encoded is None else encoded[0])
    assert encode_table(properties.headers()) == values.get("headers", bytes(4))


@pytest.mark.parametrize(("mode", "persistent"), [(None, False), (0, False), (1, False), (2, True)])
def test_only_delivery_mode_2_is_persistent(mode: int | None, persistent: bool) -> None:
    values = {"priority": b"\2"} if mode is None else {"delivery_mode": bytes((mode,))}
    assert Properties(raw(values)).persistent is persistent


def test_text_that_is_not_utf_8_survives() -> None:
    properties = Properties(raw({"user_id": b"\2a\xff"}))
    assert properties.text(USER_ID) == "a\udcff"


# --- pamqp as the oracle ----------------------------------------------------------------------

# Empty strings are left out: to pamqp they mean that the property is absent.
ours_by_kind: dict[str, st.SearchStrategy[Any]] = {
    "shortstr": st.text(min_size=1, max_size=20),
    "octet": octet,
    "timestamp": st.integers(0, 2**32 - 1).map(
        lambda seconds: datetime.datetime.fromtimestamp(seconds, tz=datetime.UTC)
    ),
    "table": st.dictionaries(st.text(max_size=8), st.text(max_size=8), min_size=1, max_size=3),
}


@given(
    st.fixed_dictionaries({}, optional={name: ours_by_kind[kind] for name, kind in KINDS.items()}),
    longlong,
)
def test_properties_are_read_as_pamqp_wrote_them(values: dict[str, Any], body_bytes: int) -> None:
    theirs = commands.Basic.Properties()
    for name, value in values.items():
        setattr(theirs, {"type": "message_type"}.get(name, name), value)
    payload = header.ContentHeader(0, body_bytes, theirs).marshal()
    properties = Properties(payload[content.CONTENT_HEAD.size :])
    assert content_header(body_bytes, properties.raw) == payload
    assert set(properties.spans) == {FLAGS[name] for name in values}
    for name, kind in KINDS.items():
        if kind == "shortstr":
            assert properties.text(FLAGS[name]) == values.get(name)
        elif kind == "octet":
            assert properties.octet(FLAGS[name]) == values.get(name)
    texts = {name: field.text for name, field in properties.headers().items()}
    assert texts == values.get("headers", {})
    if "timestamp" in values:
        seconds = int.from_bytes(properties.raw[slice(*properties.spans[TIMESTAMP])])
        assert seconds == values["timestamp"].timestamp()


# --- refusing ---------------------------------------------------------------------------------


@pytest.mark.slow
@given(st.one_of(any_bytes, damaged(encoded_values.map(raw))))
@example(b"")
@example(b"\x80")
@example(b"\xff\xfc")
def test_any_bytes_are_properties_or_a_frame_error(data: bytes) -> None:
    if refusal(data) is not None:
        return
    properties = Properties(data)
    assert properties.replaced({}) == data
    encode_table(properties.headers())
    for flag in FLAGS.values():
        properties.text(flag)


def test_a_property_list_cut_off_anywhere_is_refused() -> None:
    for end in range(len(raw(SAMPLE))):
        assert_refused(raw(SAMPLE)[:end])
    for name, encoded in SAMPLE.items():
        for end in range(len(encoded)):
            assert_refused(raw({name: encoded[:end]}))


@pytest.mark.slow
@given(encoded_values, st.binary(min_size=1, max_size=4))
def test_bytes_behind_the_property_list_are_refused(values: Encoded, more: bytes) -> None:
    assert_refused(raw(values) + more)


@pytest.mark.parametrize("flag", [1, 2])
def test_flags_of_no_known_property_are_refused(flag: int) -> None:
    assert_refused(struct.pack(">H", flag))
    assert_refused(struct.pack(">HH", flag, 0))
    assert_refused(struct.pack(">H", sum(FLAGS.values()) | flag) + raw(SAMPLE)[2:])


@pytest.mark.parametrize("headers", [b"\1", b"\1a", b"\1aZ", b"\1at", b"\1aA\0\0\0\1Z"])
def test_headers_that_are_no_table_are_refused(headers: bytes) -> None:
    assert_refused(raw({"headers": struct.pack(">I", len(headers)) + headers}))


# --- changing ---------------------------------------------------------------------------------


@pytest.mark.slow
@given(
    encoded_values,
    st.fixed_dictionaries(
        {}, optional={name: st.none() | ENCODED[kind] for name, kind in KINDS.items()}
    ),
)
@example(SAMPLE, {"headers": None})
@example({}, SAMPLE)
def test_replacing_properties_keeps_all_others_byte_for_byte(
    values: Encoded, changes: dict[str, bytes | None]
) -> None:
    by_flag = {FLAGS[name]: encoded for name, encoded in changes.items()}
    changed = {**values, **changes}
    wanted = {name: encoded for name, encoded in changed.items() if encoded is not None}
    assert Properties(raw(values)).replaced(by_flag) == raw(wanted)


def test_replacing_nothing_changes_nothing() -> None:
    assert Properties(raw(SAMPLE)).replaced({}) == raw(SAMPLE)
    assert Properties(raw({})).replaced({PRIORITY: None}) == b"\0\0"


Entry = tuple[str, Field]
header_name = st.sampled_from(["CC", "BCC"]) | any_name
# As a list: names may be repeated, and every occurrence has to go.
entries = st.lists(st.tuples(header_name, field), max_size=4)


def encode_entries(headers: list[Entry]) -> bytes:
    encoded = b"".join(shortstr(name) + encode_field(value) for name, value in headers)
    return struct.pack(">I", len(encoded)) + encoded


@pytest.mark.slow
@given(st.sampled_from([{}, SAMPLE]), entries, header_name)
@example(SAMPLE, [("BCC", Field("V", None))], "BCC")
@example({}, [("BCC", Field("V", None)), ("CC", Field("V", None)), ("BCC", Field("b", 1))], "BCC")
def test_taking_a_header_out_keeps_all_else_byte_for_byte(
    values: Encoded, headers: list[Entry], name: str
) -> None:
    before = raw({**values, "headers": encode_entries(headers)})
    left = [entry for entry in headers if entry[0] != name]
    assert Properties(before).without_header(name) == raw(
        {**values, "headers": encode_entries(left)}
    )


def test_without_headers_there_is_nothing_to_take_out() -> None:
    values = {"correlation_id": shortstr("BCC"), "reply_to": shortstr("r")}
    properties = Properties(raw(values))
    assert properties.without_header("BCC") == raw(values)
    assert (properties.text(CORRELATION_ID), properties.text(REPLY_TO)) == ("BCC", "r")


def test_a_header_inside_another_is_not_taken_out() -> None:
    inner = Field("F", {"BCC": Field("t", True)})
    data = raw({"headers": encode_table({"a": inner}), "delivery_mode": b"\1"})
    properties = Properties(data)
    assert properties.without_header("BCC") == data
    assert properties.octet(DELIVERY_MODE) == 1


def test_a_header_is_taken_out_from_beside_the_deepest_nesting_that_is_allowed() -> None:
    nested = Field("V", None)
    for _ in range(MAX_DEPTH):
        nested = Field("F", {"k": nested})
    before = raw({"headers": encode_entries([("BCC", nested), ("a", nested)])})
    after = raw({"headers": encode_entries([("a", nested)])})
    assert Properties(before).without_header("BCC") == after


@pytest.mark.slow
@given(entries, any_bytes, any_bytes)
def test_entries_follow_one_another_and_fill_the_table(
    headers: list[Entry], before: bytes, behind: bytes
) -> None:
    data = before + encode_entries(headers) + behind
    found = header_entries(data, len(before))
    assert [name for name, _, _ in found] == [name for name, _ in headers]
    starts, ends = [start for _, start, _ in found], [end for _, _, end in found]
    assert [len(before) + 4, *ends] == [*starts, len(data) - len(behind)]
    for (_, start, end), (name, value) in zip(found, headers, strict=True):
        assert data[start:end] == shortstr(name) + encode_field(value)
    assert decode_table(data, len(before))[0].keys() == dict(headers).keys()


# --- the whole header -------------------------------------------------------------------------


def test_a_content_header_stands_on_the_wire_as_the_specification_draws_it() -> None:
    assert content_header(258, raw({"priority": b"\5"})) == (
        b"\0\x3c" + b"\0\0" + b"\0\0\0\0\0\0\1\2" + b"\x08\0" + b"\5"
    )
