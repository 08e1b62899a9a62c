import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leveret.amqp.connection_methods import ChannelOpen
from leveret.amqp.errors import FrameError, HardError, UnexpectedFrame
from leveret.amqp.frames import (
    BODY,
    END_OCTET,
    HEADER,
    HEARTBEAT,
    HEARTBEAT_FRAME,
    METHOD,
    OVERHEAD_BYTES,
    PROTOCOL_HEADER,
    bad_end,
    check_head,
    erlang_binary,
    frame,
    method_frame,
    read_frame,
    unknown_frame,
)
from leveret.amqp.method_ids import Method
from leveret.amqp.methods import BasicAck, QueueUnbindOk
from wire import any_bytes, damaged, pieces, short

PAYLOAD_MAX = 100

Frame = tuple[int, int, bytes]

payloads = {
    METHOD: st.binary(min_size=4, max_size=30),
    HEADER: st.binary(min_size=12, max_size=30),
    BODY: st.binary(max_size=30),
}
frames = st.one_of(
    *(st.tuples(st.just(kind), short, payload) for kind, payload in payloads.items()),
    st.just((HEARTBEAT, 0, b"")),
)
streams = st.lists(frames, max_size=6)


def joined(sent: list[Frame]) -> bytes:
    return b"".join(frame(*each) for each in sent)


class Reader:
    """Reads frames out of a stream that comes in pieces; stops at the first error."""

    def __init__(self) -> None:
        self.rest = b""
        self.frames: list[Frame] = []
        self.error: HardError | None = None

    def receive(self, data: bytes) -> None:
        self.rest += data
        at = 0
        while self.error is None:
            try:
                read = read_frame(self.rest, at, PAYLOAD_MAX)
            except HardError as error:
                self.error = error
                break
            if read is None:
                break
            kind, channel, payload, at = read
            self.frames.append((kind, channel, payload))
        self.rest = self.rest[at:]


def read_all(*data: bytes) -> Reader:
    reader = Reader()
    for piece in data:
        reader.receive(piece)
    return reader


def error_of(data: bytes) -> HardError:
    with pytest.raises(HardError) as caught:
        read_frame(data, 0, PAYLOAD_MAX)
    return caught.value


# --- streams ----------------------------------------------------------------------------------


@given(streams, st.data())
def test_any_split_of_a_stream_gives_the_same_frames(
    sent: list[Frame], data: st.DataObject
) -> None:
    reader = read_all(*data.draw(pieces(joined(sent))))
    assert reader.frames == sent
    assert reader.rest == b""
    assert reader.error is None


def test_a_stream_may_come_byte_by_byte() -> None:
    sent = [(METHOD, 1, b"\0\x14\0\x0a\0"), (HEARTBEAT, 0, b""), (BODY, 65535, b"\xce" * 9)]
    assert read_all(*(bytes((byte,)) for byte in joined(sent))).frames == sent


@given(st.one_of(any_bytes, damaged(streams.map(joined))), st.data())
def test_garbage_gives_a_hard_error_or_nothing_wherever_it_is_cut(
    garbage: bytes, data: st.DataObject
) -> None:
    whole = read_all(garbage)
    cut = read_all(*data.draw(pieces(garbage)))
    assert cut.frames == whole.frames
    assert repr(cut.error) == repr(whole.error)
    if whole.error is None:
        assert joined(whole.frames) + whole.rest == garbage
    else:
        assert whole.error.at == (0, 0)
        assert len(whole.error.reply_text) <= 255


@given(frames, any_bytes, any_bytes)
def test_a_frame_is_found_where_it_stands_and_what_follows_is_left_alone(
    sent: Frame, before: bytes, behind: bytes
) -> None:
    data = before + frame(*sent) + behind
    end = len(data) - len(behind)
    assert read_frame(data, len(before), PAYLOAD_MAX) == (*sent, end)


@given(frames)
def test_a_frame_is_incomplete_up_to_its_last_byte(sent: Frame) -> None:
    data = frame(*sent)
    assert all(read_frame(data[:end], 0, PAYLOAD_MAX) is None for end in range(len(data)))


# --- frames as they are sent ------------------------------------------------------------------


def test_frames_stand_on_the_wire_as_the_specification_draws_them() -> None:
    assert frame(BODY, 258, b"abc") == b"\3\1\2\0\0\0\3abc\xce"
    assert method_frame(1, BasicAck(2, True)) == (
        b"\1\0\1\0\0\0\x0d\0\x3c\0\x50\0\0\0\0\0\0\0\2\1\xce"
    )
    assert len(frame(BODY, 1, b"")) == OVERHEAD_BYTES
    assert frame(HEARTBEAT, 0, b"") == HEARTBEAT_FRAME
    assert b"AMQP" + bytes((0, 0, 9, 1)) == PROTOCOL_HEADER


@pytest.mark.parametrize("call", [BasicAck(1, False), ChannelOpen(), QueueUnbindOk()])
def test_a_method_frame_is_a_frame_with_the_method_in_it(call: Method) -> None:
    read = read_frame(method_frame(7, call), 0, PAYLOAD_MAX)
    assert read is not None
    assert read[:2] == (METHOD, 7)


# --- limits -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [METHOD, HEADER, BODY, HEARTBEAT, 9])
def test_a_frame_that_is_too_large_is_refused_by_its_head_alone(kind: int) -> None:
    head = struct.pack(">BHI", kind, 1, 5000)
    assert read_frame(head[:-1], 0, 4088) is None
    with pytest.raises(FrameError) as caught:
        read_frame(head, 0, 4088)
    assert caught.value.reply_text == (
        f"FRAME_ERROR - type {kind}, all octets = <<>>: {{frame_too_large,5000,4088}}"
    )
    assert caught.value.at == (0, 0)


def test_a_size_of_four_gigabytes_is_refused() -> None:
    with pytest.raises(FrameError, match="frame_too_large,4294967295,100"):
        read_frame(b"\1\0\1\xff\xff\xff\xff", 0, PAYLOAD_MAX)


def test_payloads_of_up_to_frame_max_pass_as_rabbitmq_lets_them() -> None:
    largest = b"x" * (PAYLOAD_MAX + OVERHEAD_BYTES)
    assert read_frame(frame(BODY, 1, largest), 0, PAYLOAD_MAX) == (BODY, 1, largest, 116)
    with pytest.raises(FrameError, match="frame_too_large,109,100"):
        read_frame(frame(BODY, 1, largest + b"x"), 0, PAYLOAD_MAX)


def test_a_head_in_order_passes() -> None:
    check_head(METHOD, 1, PAYLOAD_MAX + OVERHEAD_BYTES, PAYLOAD_MAX)
    check_head(HEARTBEAT, 0, 0, PAYLOAD_MAX)


def test_a_heartbeat_has_no_size_that_could_be_too_large() -> None:
    check_head(HEARTBEAT, 0, 0, -OVERHEAD_BYTES - 1)


# --- bad frames, with RabbitMQ's texts --------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (
            frame(METHOD, 1, b"\0\x32\0\x0a")[:-1] + b"\xcf",
            "type 1, all octets = <<0,50,0,10>>: {invalid_frame_end_marker,207}",
        ),
        (
            frame(BODY, 1, b"x" * 20)[:-1] + b"\0",
            'type 3, first 16 octets = <<"xxxxxxxxxxxxxxxx">>: {invalid_frame_end_marker,0}',
        ),
        (frame(9, 0, b"abcd"), 'type 9, all octets = <<"abcd">>: unknown_frame'),
        (frame(9, 1, b""), "type 9, all octets = <<>>: unknown_frame"),
        (frame(0, 0, b"\0"), "type 0, all octets = <<0>>: unknown_frame"),
        (frame(255, 65535, b"ab"), 'type 255, all octets = <<"ab">>: unknown_frame'),
        (
            frame(9, 0, b"abcdefghijklmnop"),
            'type 9, all octets = <<"abcdefghijklmnop">>: unknown_frame',
        ),
        (
            frame(9, 0, b"abcdefghijklmnopq"),
            'type 9, first 16 octets = <<"abcdefghijklmnop">>: unknown_frame',
        ),
        (
            frame(9, 0, bytes(17)),
            f"type 9, first 16 octets = <<{','.join('0' * 16)}>>: unknown_frame",
        ),
        (frame(HEARTBEAT, 0, b"x"), 'type 8, all octets = <<"x">>: unknown_frame'),
        (frame(HEARTBEAT, 1, b"x"), 'type 8, all octets = <<"x">>: unknown_frame'),
        (frame(METHOD, 1, b""), "type 1, all octets = <<>>: unknown_frame"),
        (frame(METHOD, 1, b"\0\x32"), "type 1, all octets = <<0,50>>: unknown_frame"),
        (
            frame(HEADER, 1, b"\0\x3c\0\0"),
            "type 2, all octets = <<0,60,0,0>>: unknown_frame",
        ),
    ],
)
def test_a_bad_frame_is_shown_as_rabbitmq_shows_it(data: bytes, text: str) -> None:
    error = error_of(data)
    assert isinstance(error, FrameError)
    assert error.reply_text == f"FRAME_ERROR - {text}"
    assert error.at == (0, 0)


def test_the_end_octet_is_looked_at_before_the_type() -> None:
    assert "invalid_frame_end_marker" in error_of(frame(9, 0, b"abcd")[:-1] + b"\0").explanation


def test_a_heartbeat_on_a_channel_is_an_unexpected_frame() -> None:
    error = error_of(frame(HEARTBEAT, 1, b""))
    assert isinstance(error, UnexpectedFrame)
    assert error.reply_text == "UNEXPECTED_FRAME - type 8, all octets = <<>>"
    assert error.at == (0, 0)


def test_errors_for_frames_can_be_made_without_the_frame() -> None:
    assert repr(unknown_frame(9, b"ab")) == repr(error_of(frame(9, 0, b"ab")))
    spoilt = frame(BODY, 0, b"ab").removesuffix(END_OCTET) + b"x"
    assert repr(bad_end(BODY, b"ab", ord("x"))) == repr(error_of(spoilt))


# --- bytes as Erlang prints them --------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "printed"),
    [
        (b"", "<<>>"),
        (b"abc ~", '<<"abc ~">>'),
        (b'a"b\\c', r'<<"a\"b\\c">>'),
        (b"a\nb", r'<<"a\nb">>'),
        (b"\b\t\v\f\r\x1b", r'<<"\b\t\v\f\r\e">>'),
        (b"a\0", "<<97,0>>"),
        (b"a\x7f", "<<97,127>>"),
        (b"a\x85", "<<97,133>>"),
        ("é€".encode(), "<<195,169,226,130,172>>"),
    ],
)
def test_bytes_print_as_erlang_prints_them(data: bytes, printed: str) -> None:
    assert erlang_binary(data) == printed


def test_latin_1_prints_as_numbers_for_reply_texts_are_utf_8() -> None:
    assert erlang_binary(b"caf\xe9") == "<<99,97,102,233>>"


@given(st.binary(max_size=20))
def test_every_octet_can_be_printed(data: bytes) -> None:
    assert erlang_binary(data).isascii()
