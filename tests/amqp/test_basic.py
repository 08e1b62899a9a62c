"""The encoders and decoders written by hand, each held to the declared method."""

import struct

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from leveret.amqp.basic import (
    BASIC_ACK,
    BASIC_CONTENT,
    BASIC_DELIVER,
    BASIC_NACK,
    BASIC_PUBLISH,
    CONTENT_FRAME_HEAD,
    IMMEDIATE,
    MANDATORY,
    PUBLISH_HEAD,
    SETTLE,
    SETTLE_BYTES,
    SETTLE_PAYLOAD_BYTES,
    DeliverFrame,
    ack_frame,
    get_ok_frame,
    nack_frame,
    publish_parts,
    return_frame,
    split_address,
)
from leveret.amqp.content import content_header
from leveret.amqp.errors import FrameError
from leveret.amqp.frames import (
    END,
    HEADER,
    METHOD,
    METHOD_HEAD,
    OVERHEAD_BYTES,
    frame,
    method_frame,
)
from leveret.amqp.method_codec import decode, encode
from leveret.amqp.method_ids import METHOD_IDS, Method
from leveret.amqp.methods import (
    BasicAck,
    BasicDeliver,
    BasicGetOk,
    BasicNack,
    BasicPublish,
    BasicReject,
    BasicReturn,
)
from leveret.amqp.wire_types import shortstr
from wire import any_bytes, damaged, long, longlong, octet, short
from wire import shortstr as text

publishes = st.builds(BasicPublish, short, text, text, st.booleans(), st.booleans())


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (BASIC_PUBLISH, BasicPublish),
        (BASIC_ACK, BasicAck),
        (BASIC_DELIVER, BasicDeliver),
        (BASIC_NACK, BasicNack),
    ],
)
def test_numbers_of_methods_are_their_ids(number: int, kind: type[Method]) -> None:
    assert (number >> 16, number & 0xFFFF) == METHOD_IDS[kind]


# --- sent by the broker -----------------------------------------------------------------------


@given(short, longlong, st.booleans())
def test_confirms_are_the_frames_of_ack_and_nack(channel: int, tag: int, multiple: bool) -> None:
    assert ack_frame(channel, tag, multiple) == method_frame(channel, BasicAck(tag, multiple))
    assert nack_frame(channel, tag, multiple) == method_frame(
        channel, BasicNack(tag, multiple, requeue=True)
    )


@given(short, text, text, text, longlong, st.booleans())
def test_deliver_frames_are_frames_of_deliver(
    channel: int, consumer_tag: str, exchange: str, key: str, tag: int, redelivered: bool
) -> None:
    address = shortstr(exchange) + shortstr(key)
    deliver = DeliverFrame(channel, consumer_tag.encode(), len(address))
    packed = deliver.pack(deliver.prefix, tag, redelivered, address, END)
    assert packed == method_frame(
        channel, BasicDeliver(consumer_tag, tag, redelivered, exchange, key)
    )
    assert len(packed) == deliver.size


def test_one_layout_serves_all_addresses_of_a_length() -> None:
    deliver = DeliverFrame(1, b"c", 4)
    for exchange, key in [("x", "k"), ("", "kk"), ("xx", "")]:
        address = shortstr(exchange) + shortstr(key)
        assert deliver.pack(deliver.prefix, 7, True, address, END) == method_frame(
            1, BasicDeliver("c", 7, True, exchange, key)
        )


@given(short, longlong, st.booleans(), text, text, long)
def test_get_ok_frames_are_frames_of_get_ok(
    channel: int, tag: int, redelivered: bool, exchange: str, key: str, left: int
) -> None:
    address = shortstr(exchange) + shortstr(key)
    assert get_ok_frame(channel, tag, redelivered, address, left) == method_frame(
        channel, BasicGetOk(tag, redelivered, exchange, key, left)
    )


@given(short, short, text, text, text)
def test_return_frames_are_frames_of_return(
    channel: int, code: int, why: str, exchange: str, key: str
) -> None:
    address = shortstr(exchange) + shortstr(key)
    assert return_frame(channel, code, why.encode(), address) == method_frame(
        channel, BasicReturn(code, why, exchange, key)
    )


# --- received by the broker -------------------------------------------------------------------


@given(short, longlong, st.booleans())
def test_settlements_are_laid_out_as_one_struct(channel: int, tag: int, bit: bool) -> None:
    for call in (BasicAck(tag, bit), BasicReject(tag, bit), BasicNack(tag, bit, requeue=False)):
        packed = method_frame(channel, call)
        class_id, method_id = METHOD_IDS[type(call)]
        number = class_id << 16 | method_id
        assert len(packed) == SETTLE_BYTES
        assert SETTLE.unpack(packed) == (
            *(METHOD, channel, SETTLE_PAYLOAD_BYTES),
            *(number, tag, bit, END),
        )


@given(short, publishes)
def test_a_publish_is_taken_apart_as_decoding_it_would(channel: int, call: BasicPublish) -> None:
    published = method_frame(channel, call)
    address, exchange, routing_key, bits = publish_parts(published)
    assert address == shortstr(call.exchange) + shortstr(call.routing_key)
    assert (exchange, routing_key) == (call.exchange, call.routing_key)
    assert (bool(bits & MANDATORY), bool(bits & IMMEDIATE)) == (call.mandatory, call.immediate)
    head = (METHOD, channel, len(published) - OVERHEAD_BYTES, BASIC_PUBLISH)
    assert METHOD_HEAD.unpack_from(published) == head
    assert PUBLISH_HEAD.unpack_from(published) == (*head, call.ticket)


Reading = tuple[str, str, bool, bool] | str
"""Exchange, routing key, mandatory, immediate; or the text that the frame is refused with."""


def read_by_hand(payload: bytes) -> Reading:
    try:
        _, exchange, routing_key, bits = publish_parts(frame(METHOD, 1, payload))
    except FrameError as error:
        return error.reply_text
    return exchange, routing_key, bool(bits & MANDATORY), bool(bits & IMMEDIATE)


def read_as_declared(payload: bytes) -> Reading:
    try:
        call = decode(payload)
    except FrameError as error:
        return error.reply_text
    assert isinstance(call, BasicPublish)
    return call.exchange, call.routing_key, call.mandatory, call.immediate


@pytest.mark.slow
@given(st.one_of(any_bytes, damaged(publishes.map(lambda call: encode(call)[4:]))))
@settings(max_examples=300)
@example(b"")
@example(b"\0")
@example(b"\0\0")
@example(b"\0\0\0")
@example(b"\0\0\0\0")
@example(b"\0\0\0\0\0")
@example(b"\0\0\0\0\0\0")
@example(b"\0\0\1\xff\0\0")
@example(b"\0\0\1\xff\0\0\0")
@example(b"\0\0\2\xff")
def test_any_arguments_of_publish_are_judged_as_decoding_them_would(arguments: bytes) -> None:
    payload = struct.pack(">I", BASIC_PUBLISH) + arguments
    assert read_by_hand(payload) == read_as_declared(payload)


@pytest.mark.parametrize("arguments", [b"", b"\0", b"\0\0", b"\0\0\0", b"\0\0\0\0"])
def test_a_publish_that_ends_too_soon_is_refused_with_rabbitmqs_text(arguments: bytes) -> None:
    shown = ",".join(map(str, arguments))
    with pytest.raises(FrameError) as caught:
        publish_parts(frame(METHOD, 1, struct.pack(">I", BASIC_PUBLISH) + arguments))
    assert caught.value.reply_text == f"FRAME_ERROR - cannot decode <<{shown}>>"


@given(text, text)
def test_an_address_splits_into_exchange_and_routing_key(exchange: str, key: str) -> None:
    assert split_address(shortstr(exchange) + shortstr(key)) == (exchange, key)


@given(short, longlong, st.builds(bytes.__add__, st.just(b"\0\0"), st.binary(max_size=3)))
def test_a_content_header_frame_begins_as_one_struct(
    channel: int, body_bytes: int, properties: bytes
) -> None:
    payload = content_header(body_bytes, properties)
    assert CONTENT_FRAME_HEAD.unpack_from(frame(HEADER, channel, payload)) == (
        *(HEADER, channel, len(payload)),
        *(BASIC_CONTENT, body_bytes),
    )


@given(octet)
def test_bits_that_publish_does_not_have_are_handed_on(bits: int) -> None:
    published = frame(
        METHOD, 1, encode(BasicPublish(0, "x", "k", False, False))[:-1] + bytes((bits,))
    )
    assert publish_parts(published) == (b"\1x\1k", "x", "k", bits)
