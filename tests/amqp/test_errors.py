import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from leveret.amqp import errors
from leveret.amqp.connection_methods import ConnectionClose
from leveret.amqp.errors import AMQPError, HardError, NotFound, SoftError
from leveret.amqp.method_codec import decode, encode
from leveret.amqp.wire_types import shortstr

SOFT = {
    403: "ACCESS_REFUSED",
    404: "NOT_FOUND",
    405: "RESOURCE_LOCKED",
    406: "PRECONDITION_FAILED",
}
HARD = {
    320: "CONNECTION_FORCED",
    403: "ACCESS_REFUSED",
    501: "FRAME_ERROR",
    503: "COMMAND_INVALID",
    504: "CHANNEL_ERROR",
    505: "UNEXPECTED_FRAME",
    506: "RESOURCE_ERROR",
    530: "NOT_ALLOWED",
    540: "NOT_IMPLEMENTED",
    541: "INTERNAL_ERROR",
}
PREFIX = "NOT_FOUND - "


def concrete(scope: type[AMQPError]) -> list[type[AMQPError]]:
    found = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    return [kind for kind in found if issubclass(kind, scope) and hasattr(kind, "code")]


@pytest.mark.parametrize(("scope", "codes"), [(SoftError, SOFT), (HardError, HARD)])
def test_codes_have_the_names_and_close_what_rabbitmq_closes(
    scope: type[AMQPError], codes: dict[int, str]
) -> None:
    kinds = concrete(scope)
    assert {kind.code: kind.name for kind in kinds} == codes
    assert len(kinds) == len(codes)


def test_an_error_carries_its_explanation_and_the_method_to_report() -> None:
    error = NotFound("no queue 'q' in vhost '/'", at=(50, 10))
    assert error.reply_text == "NOT_FOUND - no queue 'q' in vhost '/'"
    assert str(error) == error.explanation == "no queue 'q' in vhost '/'"
    assert error.at == (50, 10)
    assert NotFound("no queue").at is None


def test_a_reply_text_of_255_bytes_is_sent_whole() -> None:
    explanation = "x" * (255 - len(PREFIX))
    assert NotFound(explanation).reply_text == PREFIX + explanation


def test_a_longer_reply_text_is_cut_to_255_bytes_and_ends_in_dots() -> None:
    text = NotFound("x" * (256 - len(PREFIX))).reply_text
    assert text == PREFIX + "x" * (252 - len(PREFIX)) + "..."
    assert len(text) == 255


@pytest.mark.parametrize("character", ["é", "€", "🐇"])
def test_no_character_is_cut_in_half(character: str) -> None:
    for padding in range(4):
        text = NotFound("x" * padding + character * 200).reply_text
        head, dots = text[:-3], text[-3:]
        assert dots == "..."
        assert head == PREFIX + "x" * padding + character * head.count(character)
        assert 255 - len(character.encode()) < len(text.encode()) <= 255


# Names that are no UTF-8 are carried as surrogates and may be quoted in a text.
@given(st.binary(max_size=300).map(lambda data: data.decode("utf-8", "surrogateescape")))
@example("\udcff" * 300)
def test_every_reply_text_fits_a_short_string(explanation: str) -> None:
    text = NotFound(explanation).reply_text
    assert len(shortstr(text)) <= 256
    assert text.startswith(PREFIX)


@given(st.text("aé€🐇", max_size=260))
@example("ü" * 300)
def test_the_reply_text_of_a_close_is_read_back_as_sent(explanation: str) -> None:
    close = ConnectionClose(404, NotFound(explanation).reply_text, 50, 10)
    assert decode(encode(close)) == close
