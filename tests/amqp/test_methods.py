"""Method frames' payloads: round trips, and what is refused."""

import struct

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from leveret.amqp import methods
from leveret.amqp.connection_methods import (
    AccessRequest,
    AccessRequestOk,
    ChannelOpen,
    ChannelOpenOk,
    ConnectionOpenOk,
    ConnectionTune,
)
from leveret.amqp.errors import CommandInvalid, FrameError
from leveret.amqp.fields import Field, encode_table
from leveret.amqp.method_codec import decode, encode
from leveret.amqp.method_ids import METHOD_IDS, Method
from leveret.amqp.wire_types import shortstr
from method_calls import METHODS, NUMBERS, any_call, call_of, field_names
from wire import any_bytes, damaged

# --- round trips ------------------------------------------------------------------------------


@pytest.mark.slow
@given(any_call)
@settings(max_examples=200)
def test_every_call_comes_back(call: Method) -> None:
    payload = encode(call)
    decoded = decode(payload)
    assert type(decoded) is type(call)
    assert encode(decoded) == payload


def test_access_request_stands_as_amqp_0_9_has_it() -> None:
    request = AccessRequest("/data", False, True, False, True, True)
    assert encode(request) == b"\0\x1e\0\x0a" + b"\x05/data" + b"\x1a"
    assert decode(encode(request)) == request
    assert encode(AccessRequestOk()) == b"\0\x1e\0\x0b" + b"\0\1"


def test_unsigned_numbers_use_all_their_bits() -> None:
    ack = methods.BasicAck(2**64 - 1, True)
    assert encode(ack) == b"\0\x3c\0\x50" + b"\xff" * 8 + b"\1"
    assert decode(encode(ack)) == ack
    tune = ConnectionTune(2**16 - 1, 2**32 - 1, 2**16 - 1)
    assert decode(encode(tune)) == tune


def test_bits_without_a_meaning_are_passed_over() -> None:
    assert decode(b"\0\x3c\0\x50" + bytes(8) + b"\xfe") == methods.BasicAck(0, False)


def test_a_reserved_field_is_carried_like_any_other() -> None:
    call = methods.QueueDeclare(7, "q", False, True, False, False, False, {})
    assert decode(encode(call)) == call


def test_replies_come_with_what_the_specification_reserves() -> None:
    assert encode(ConnectionOpenOk()) == b"\0\x0a\0\x29" + b"\0"
    assert encode(ChannelOpen()) == b"\0\x14\0\x0a" + b"\0"
    assert encode(ChannelOpenOk()) == b"\0\x14\0\x0b" + b"\0\0\0\0"
    assert encode(methods.BasicGetEmpty()) == b"\0\x3c\0\x48" + b"\0"


def test_a_short_string_holds_at_most_255_bytes() -> None:
    assert shortstr("é" * 127 + "e") == b"\xff" + "é".encode() * 127 + b"e"
    with pytest.raises(ValueError, match="range"):
        shortstr("é" * 128)


# --- what is refused --------------------------------------------------------------------------


def refusal(payload: bytes) -> FrameError | CommandInvalid | None:
    """The error that decoding ends with, if it does; any other exception fails the test."""
    try:
        decode(payload)
    except (FrameError, CommandInvalid) as error:
        return error
    return None


known_ids = st.sampled_from(sorted(NUMBERS.values())).map(struct.Struct(">I").pack)


@pytest.mark.slow
@given(
    st.one_of(
        any_bytes,
        st.builds(bytes.__add__, known_ids, any_bytes),
        damaged(any_call.map(encode)),
    )
)
@settings(max_examples=400)
@example(b"")
@example(b"\0\x0a\0\x0b" + b"\xff" * 4)
def test_any_bytes_give_a_method_or_a_hard_error(payload: bytes) -> None:
    error = refusal(payload)
    if error is not None:
        assert len(error.reply_text) <= 255
        return
    call = decode(payload)
    again = encode(call)
    assert encode(decode(again)) == again


SAMPLE = {
    "bit": True,
    **dict.fromkeys(("octet", "short", "long", "longlong"), 3),
    "shortstr": "é",
    "longstr": b"ab",
    "table": {"k": Field("A", [Field("S", b"ab"), Field("D", (1, 2))])},
}


@pytest.mark.parametrize("name", [name for name in METHODS if field_names(name)])
def test_arguments_cut_off_anywhere_cannot_be_decoded(name: str) -> None:
    payload = encode(call_of(name, SAMPLE))
    for end in range(4, len(payload)):
        error = refusal(payload[:end])
        assert isinstance(error, FrameError)
        shown = ",".join(map(str, payload[4:end]))
        assert error.explanation == f"cannot decode <<{shown}>>"
        assert error.at == METHOD_IDS[METHODS[name]]


@pytest.mark.parametrize("name", METHODS)
def test_arguments_with_bytes_left_over_cannot_be_decoded(name: str) -> None:
    error = refusal(encode(call_of(name, SAMPLE)) + b"\0")
    assert isinstance(error, FrameError)
    assert error.at == METHOD_IDS[METHODS[name]]


def test_the_text_for_arguments_that_cannot_be_decoded_is_rabbitmqs() -> None:
    error = refusal(b"\0\x32\0\x0a" + b"\0\0")
    assert isinstance(error, FrameError)
    assert error.reply_text == "FRAME_ERROR - cannot decode <<0,0>>"
    assert error.at == (50, 10)


def test_a_malformed_table_makes_arguments_undecodable() -> None:
    unbind = methods.QueueUnbind(0, "q", "x", "k", {})
    payload = encode(unbind)[:-4] + b"\0\0\0\3\1aZ"
    error = refusal(payload)
    assert isinstance(error, FrameError)
    assert error.explanation.startswith("cannot decode <<0,0,1,113,")
    assert error.at == (50, 50)


def test_a_short_string_that_is_not_utf_8_is_refused_with_rabbitmqs_text() -> None:
    error = refusal(b"\0\x3c\0\x1f" + b"\1\xff")
    assert isinstance(error, FrameError)
    assert error.reply_text == "FRAME_ERROR - Malformed UTF-8 in shortstr"
    assert error.at == (0, 0)


# RabbitMQ cuts out the strings first and looks into them only then.
@pytest.mark.parametrize(
    "arguments",
    [b"\0\0" + b"\3\xc3", b"\0\0" + b"\1\xff" + b"\0" + encode_table({}) + b"\0"],
    ids=["cut off", "bytes left over"],
)
def test_a_malformed_layout_counts_before_malformed_utf_8(arguments: bytes) -> None:
    error = refusal(b"\0\x32\0\x0a" + arguments)
    assert isinstance(error, FrameError)
    assert error.explanation == f"cannot decode <<{','.join(map(str, arguments))}>>"
    assert error.at == (50, 10)


@pytest.mark.parametrize("payload", [b"", b"\0", b"\0\x32", b"\0\x32\0"])
def test_a_payload_without_whole_ids_is_refused(payload: bytes) -> None:
    error = refusal(payload)
    assert isinstance(error, FrameError)
    assert error.at == (0, 0)


@pytest.mark.parametrize("ids", [(0, 0), (50, 99), (10, 41 << 8), (65535, 65535), (30, 12)])
def test_a_method_that_nobody_knows_is_a_command_invalid(ids: tuple[int, int]) -> None:
    error = refusal(struct.pack(">HH", *ids) + b"arguments")
    assert isinstance(error, CommandInvalid)
    assert error.explanation == f"unknown method: class {ids[0]}, method {ids[1]}"
    assert error.at == ids
