import io
import json
import logging
import re
import sys
from collections.abc import Iterator

import pytest

from leveret.broker import log
from leveret.broker.log import JsonFormatter, TextFormatter, fields


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    logger = logging.getLogger("leveret")
    before = (logger.handlers, logger.level, logger.propagate)
    yield io.StringIO()
    logger.handlers, logger.propagate = before[0], before[2]
    logger.setLevel(before[1])


def record(message: str, **values: log.Value) -> logging.LogRecord:
    return logging.makeLogRecord(
        {
            "name": "leveret.connection",
            "msg": message,
            "levelname": "INFO",
            "created": 1795502523.123456,
            **fields(**values),
        }
    )


def as_text(message: str, **values: log.Value) -> str:
    """Return the line without its timestamp."""
    return TextFormatter().format(record(message, **values)).partition(" ")[2]


def test_a_text_line_has_time_level_component_message_and_fields() -> None:
    line = TextFormatter().format(record("accepted", peer="127.0.0.1:5000"))
    assert line == "2026-11-24T06:42:03.123Z info connection accepted peer=127.0.0.1:5000"


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("a b", '"a b"'),
        ("", '""'),
        ('say "x"', '"say \\"x\\""'),
        ("a=b", '"a=b"'),
        ("grün", "grün"),
        ("two\nlines", '"two\\nlines"'),
        ("\x1b[31m", '"\\u001b[31m"'),
        ("\u2028", '"\\u2028"'),
        (None, "null"),
        (True, "true"),
        (12, "12"),
        (0.5, "0.5"),
    ],
)
def test_a_text_value_ends_at_the_next_space(value: log.Value, written: str) -> None:
    assert as_text("m", value=value) == f"info connection m value={written}"


def test_a_message_cannot_forge_a_line() -> None:
    assert as_text("no queue 'x\ny'") == "info connection no queue 'x\\ny'"


def test_a_json_line_is_one_object() -> None:
    line = JsonFormatter().format(record("accepted\nhere", peer="[::1]:5000", level=3))
    assert "\n" not in line
    assert json.loads(line) == {
        "time": "2026-11-24T06:42:03.123Z",
        "level": "info",
        "component": "connection",
        "message": "accepted\nhere",
        "fields": {"peer": "[::1]:5000", "level": 3},
    }


def test_json_writes_what_it_does_not_know_as_text() -> None:
    made = record("m")
    made.fields = {"path": ValueError("x")}
    assert json.loads(JsonFormatter().format(made))["fields"] == {"path": "x"}


def test_a_traceback_follows_indented_in_text_and_as_error_in_json() -> None:
    made = record("failed", queue="q")
    try:
        raise ValueError("broken")
    except ValueError:
        made.exc_info = sys.exc_info()
    first, *rest = TextFormatter().format(made).split("\n")
    assert first.endswith("info connection failed queue=q")
    assert rest[-1] == "    ValueError: broken"
    assert all(line.startswith("    ") for line in rest)
    assert json.loads(JsonFormatter().format(made))["error"].endswith("ValueError: broken")


def test_configure_sends_what_reaches_the_level_to_the_stream(stream: io.StringIO) -> None:
    log.configure("warning", "text", stream)
    logger = logging.getLogger("leveret.queue")
    logger.info("quiet")
    logger.warning("ready %d", 3, extra=fields(queue="q"))
    assert re.fullmatch(r"\S+Z warning queue ready 3 queue=q\n", stream.getvalue())


def test_configuring_again_replaces_the_set_up(stream: io.StringIO) -> None:
    log.configure("info", "text", stream)
    log.configure("debug", "json", stream)
    logging.getLogger("leveret.queue").debug("once")
    assert [json.loads(line)["message"] for line in stream.getvalue().splitlines()] == ["once"]


def test_standard_error_is_the_default(
    stream: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    log.configure("info", "text")
    logging.getLogger("leveret.queue").info("here")
    assert stream.getvalue().endswith("Z info queue here\n")
