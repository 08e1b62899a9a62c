import struct
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from leveret.amqp.fields import (
    INTEGER_TAGS,
    MAX_DEPTH,
    Field,
    MalformedField,
    Table,
    check_table,
    decode_table,
    encode_field,
    encode_table,
    table_of,
    type_names,
)
from wire import INTEGER_RANGES, any_bytes, any_name, damaged, field, scalars, table

WIRE_FORMS = [
    (Field("t", True), "74 01"),
    (Field("t", False), "74 00"),
    (Field("b", -2), "62 fe"),
    (Field("B", 254), "42 fe"),
    (Field("s", -2), "73 fffe"),
    (Field("u", 65534), "75 fffe"),
    (Field("I", -2), "49 fffffffe"),
    (Field("i", 4294967294), "69 fffffffe"),
    (Field("l", -2), "6c fffffffffffffffe"),
    (Field("L", -2), "4c fffffffffffffffe"),
    (Field("T", 2**64 - 2), "54 fffffffffffffffe"),
    (Field("f", -1.5), "66 bfc00000"),
    (Field("d", -1.5), "64 bff8000000000000"),
    (Field("D", (2, 4294967294)), "44 02 fffffffe"),
    (Field("S", b"\xffa"), "53 00000002 ff61"),
    (Field("x", b"\0"), "78 00000001 00"),
    (Field("V", None), "56"),
    (Field("A", [Field("V", None), Field("b", 1)]), "41 00000003 56 6201"),
    (Field("F", {"k": Field("t", True)}), "46 00000004 016b 7401"),
]


def with_length(content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + content


def nested(tags: str) -> bytes:
    """A table with tables and arrays in one another, the first tag outermost."""
    value = b"V"
    for tag in reversed(tags):
        value = tag.encode() + with_length(b"\1k" + value if tag == "F" else value)
    return with_length(b"\1k" + value)


def outcome(read: Callable[[], int]) -> int | str:
    """The offset behind the table, or why it is none."""
    try:
        return read()
    except MalformedField as error:
        return str(error)


# Lengths and tags that fit often enough to get deep into the decoder.
table_like = st.recursive(
    st.one_of(any_bytes, field.map(encode_field), st.sampled_from([b"", b"\1a", b"\1aV", b"V"])),
    lambda inner: (
        st.lists(inner, max_size=4).map(lambda parts: b"\1aF" + with_length(b"".join(parts)))
        | st.lists(inner, max_size=4).map(lambda parts: b"\1aA" + with_length(b"".join(parts)))
        | st.lists(inner, max_size=4).map(b"".join)
    ),
    max_leaves=8,
).map(with_length)
any_table_bytes = st.one_of(any_bytes, table_like, damaged(table.map(encode_table)))


# --- round trips ------------------------------------------------------------------------------


@pytest.mark.parametrize(("value", "wire"), WIRE_FORMS, ids=lambda value: str(value))
def test_every_type_has_the_wire_form_that_rabbitmq_gives_it(value: Field, wire: str) -> None:
    encoded = bytes.fromhex(wire)
    assert encode_field(value) == encoded
    data = with_length(b"\1k" + encoded)
    assert decode_table(data, 0) == ({"k": value}, len(data))
    assert check_table(data, 0) == len(data)


def test_the_examples_have_every_type() -> None:
    assert {value.tag for value, _ in WIRE_FORMS} == set(type_names) == {*scalars, "A", "F"}
    assert set(INTEGER_RANGES) == INTEGER_TAGS | {"T"}


@pytest.mark.slow
@given(table, any_bytes, any_bytes)
def test_a_table_comes_back_byte_for_byte_wherever_it_stands(
    values: Table, before: bytes, behind: bytes
) -> None:
    encoded = encode_table(values)
    data = before + encoded + behind
    decoded, end = decode_table(data, len(before))
    assert end == check_table(data, len(before)) == len(before) + len(encoded)
    assert encode_table(decoded) == encoded
    assert list(decoded) == list(values)


@pytest.mark.slow
@given(any_table_bytes)
@example(with_length(b"\1at\2"))
@example(with_length(b"\1aV\1aV"))
@example(with_length(b"\1af" + struct.pack(">f", float("nan"))))
# A signalling NaN becomes a quiet one in Python's floats.
@example(with_length(b"\1af\x7f\x80\0\1"))
def test_what_decodes_is_encoded_to_bytes_that_decode_alike(data: bytes) -> None:
    try:
        first, _ = decode_table(data, 0)
    except MalformedField:
        return
    encoded = encode_table(first)
    second, end = decode_table(encoded, 0)
    assert end == len(encoded)
    assert encode_table(second) == encoded
    assert list(second) == list(first)


def test_any_octet_but_zero_is_true() -> None:
    assert decode_table(with_length(b"\1at\2"), 0)[0] == {"a": Field("t", True)}


def test_of_a_repeated_name_the_last_value_counts() -> None:
    data = with_length(b"\1ab\1" + b"\1bV" + b"\1ab\2")
    assert decode_table(data, 0)[0] == {"a": Field("b", 2), "b": Field("V", None)}


def test_names_and_strings_need_not_be_utf_8() -> None:
    data = with_length(b"\1\xff" + b"S\0\0\0\1\xfe")
    decoded, _ = decode_table(data, 0)
    assert decoded == {"\udcff": Field("S", b"\xfe")}
    assert decoded["\udcff"].text == "\udcfe"
    assert encode_table(decoded) == data


# --- malformed bytes --------------------------------------------------------------------------


@pytest.mark.slow
@given(any_table_bytes, st.integers(0, 6))
@example(b"", 0)
@example(b"\0\0\0\0", 1)
def test_checking_a_table_gives_what_decoding_it_would(data: bytes, at: int) -> None:
    decoded = outcome(lambda: decode_table(data, at)[1])
    assert outcome(lambda: check_table(data, at)) == decoded


def test_a_table_cut_off_anywhere_is_malformed() -> None:
    for _, wire in WIRE_FORMS:
        data = with_length(b"\1k" + bytes.fromhex(wire))
        for end in range(len(data)):
            with pytest.raises(MalformedField):
                decode_table(data[:end], 0)
            with pytest.raises(MalformedField):
                check_table(data[:end], 0)


def test_a_value_cut_off_by_the_end_of_its_table_is_malformed() -> None:
    for _, wire in WIRE_FORMS:
        entry = b"\1k" + bytes.fromhex(wire)
        for size in range(1, len(entry)):
            # The bytes that are missing from the table do follow it.
            data = struct.pack(">I", size) + entry
            with pytest.raises(MalformedField):
                decode_table(data, 0)
            with pytest.raises(MalformedField):
                check_table(data, 0)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\0\0\0", "too short for a length"),
        (b"\0\0\0\1", "longer than the data that holds it"),
        (b"\xff\xff\xff\xff", "longer than the data that holds it"),
        (with_length(b"\1a"), "a name without a value"),
        (with_length(b"\5a"), "a name without a value"),
        (with_length(b"\1aZ"), "unknown type tag 'Z'"),
        (with_length(b"\1a\0"), "unknown type tag '\\x00'"),
        (with_length(b"\1at"), "too short for its type"),
        (with_length(b"\1aI\0\0\0"), "too short for its type"),
        (with_length(b"\1aD\0\0\0\0"), "too short for its type"),
        (with_length(b"\1aS\0\0\0\1"), "longer than the data that holds it"),
        (with_length(b"\1aS\0\0"), "too short for a length"),
        (with_length(b"\1ab") + b"\1", "the last value reaches past the end of its table"),
        (with_length(b"\1aA\0\0\0\1b") + b"\1", "the last value reaches past the end of its array"),
    ],
)
def test_the_error_says_what_is_wrong(data: bytes, why: str) -> None:
    assert outcome(lambda: decode_table(data, 0)[1]) == why
    assert outcome(lambda: check_table(data, 0)) == why


# --- nesting ----------------------------------------------------------------------------------


@given(st.text("AF", max_size=MAX_DEPTH + 3))
@example("F" * MAX_DEPTH)
@example("A" * MAX_DEPTH)
@example("F" * (MAX_DEPTH + 1))
@example("A" * (MAX_DEPTH + 1))
@example("FA" * MAX_DEPTH)
def test_nesting_is_bounded(tags: str) -> None:
    data = nested(tags)
    if len(tags) <= MAX_DEPTH:
        decoded, end = decode_table(data, 0)
        assert end == check_table(data, 0) == len(data)
        assert encode_table(decoded) == data
        return
    why = f"{'tables' if tags[MAX_DEPTH] == 'F' else 'arrays'} nested too deeply"
    assert outcome(lambda: decode_table(data, 0)[1]) == why
    assert outcome(lambda: check_table(data, 0)) == why


@pytest.mark.parametrize("tag", ["A", "F"])
def test_a_frame_full_of_nesting_does_not_exhaust_the_stack(tag: str) -> None:
    data = nested(tag * 20_000)
    with pytest.raises(MalformedField, match="nested too deeply"):
        decode_table(data, 0)
    with pytest.raises(MalformedField, match="nested too deeply"):
        check_table(data, 0)


# --- values -----------------------------------------------------------------------------------


def test_plain_values_become_the_types_that_hold_them() -> None:
    values = {
        "yes": True,
        "small": 2**31 - 1,
        "least": -(2**31),
        "large": 2**31,
        "text": "hé\udcff",
        "inner": {"no": False},
    }
    assert table_of(values) == {
        "yes": Field("t", True),
        "small": Field("I", 2**31 - 1),
        "least": Field("I", -(2**31)),
        "large": Field("l", 2**31),
        "text": Field("S", b"h\xc3\xa9\xff"),
        "inner": Field("F", {"no": Field("t", False)}),
    }


@given(st.dictionaries(any_name, st.booleans() | st.integers(-(2**63), 2**63 - 1), max_size=4))
def test_tables_of_plain_values_can_be_encoded(values: dict[str, bool | int]) -> None:
    decoded, _ = decode_table(encode_table(table_of(values)), 0)
    assert {name: field.value for name, field in decoded.items()} == values


@pytest.mark.parametrize(
    ("tag", "name"),
    [
        ("b", "byte"),
        ("B", "unsignedbyte"),
        ("s", "short"),
        ("u", "unsignedshort"),
        ("I", "signedint"),
        ("i", "unsignedint"),
        ("l", "long"),
        ("S", "longstr"),
        ("t", "bool"),
    ],
)
def test_types_print_as_rabbitmq_names_them(tag: str, name: str) -> None:
    assert Field(tag, 1).type_name == name


@pytest.mark.parametrize("tag", sorted(INTEGER_TAGS))
def test_an_integer_field_gives_its_number_whatever_its_width(tag: str) -> None:
    assert Field(tag, 7).integer == 7


@pytest.mark.parametrize("value", [1, 1.5])
def test_a_value_that_its_type_cannot_hold_is_refused(value: float) -> None:
    with pytest.raises(TypeError, match="a field of type 'S' cannot hold"):
        encode_field(Field("S", value))
