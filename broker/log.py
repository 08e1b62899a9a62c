"""Levelled, structured logs on standard error, as text or as JSON, on top of `logging`.

Loggers are named `leveret.<component>`; what varies goes into fields, not into the message:

    log = logging.getLogger("leveret.connection")
    log.info("accepted", extra=fields(peer=peer))
    log.info("accepted", extra={"fields": {"peer": peer}})  # the same

As text that is one line (a traceback, if there is one, follows it indented):

    2026-11-24T06:42:03.123Z info connection accepted peer=127.0.0.1:5000

and as JSON one object a line, with the keys time, level, component, message and, where they exist,
fields (an object) and error (a traceback). Control characters are escaped in both, so that what a
client sends can't forge a line. A call below the level costs `logging`'s cached check plus building
the fields; on a hot path ask `log.isEnabledFor(...)` first.
"""

import json
import logging
import re
import sys
import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Literal, TextIO, cast

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["text", "json"]
Value = str | int | float | bool | None

ROOT = "leveret"

_JSON_WORDS = {None: "null", False: "false", True: "true"}
_MARKS = re.compile(r'[ "=]')
_quoted = json.JSONEncoder(ensure_ascii=False).encode


def fields(**values: Value) -> dict[str, object]:
    """Return what a log call takes as `extra=` to carry these fields."""
    return {"fields": values}


def configure(level: Level, log_format: Format, stream: TextIO | None = None) -> None:
    """Send all of leveret's logs from `level` up to `stream` (standard error), and nowhere else.

    Calling it again replaces the earlier set-up.
    """
    handler = logging.StreamHandler(sys.stderr if stream is None else stream)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    logger = logging.getLogger(ROOT)
    logger.handlers = [handler]
    logger.setLevel(level.upper())
    logger.propagate = False


class TextFormatter(logging.Formatter):
    """One line of text a record: time, level, component, message, key=value."""

    def format(self, record: logging.LogRecord) -> str:
        parts = [
            _timestamp(record.created),
            record.levelname.lower(),
            _component(record.name),
            _escape_controls(record.getMessage()),
        ]
        parts += [f"{name}={_text_value(value)}" for name, value in _fields_of(record).items()]
        line = " ".join(parts)
        traceback = _traceback(self, record)
        return line if traceback is None else f"{line}\n    " + traceback.replace("\n", "\n    ")


class JsonFormatter(logging.Formatter):
    """One JSON object a record; values that JSON lacks appear as their `str`."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "time": _timestamp(record.created),
            "level": record.levelname.lower(),
            "component": _component(record.name),
            "message": record.getMessage(),
        }
        if values := _fields_of(record):
            entry["fields"] = values
        if (traceback := _traceback(self, record)) is not None:
            entry["error"] = traceback
        return json.dumps(entry, default=str)


def _timestamp(created_s: float) -> str:
    """Return seconds since the epoch as RFC 3339 in UTC with milliseconds."""
    whole_s, ms = divmod(int(created_s * 1000), 1000)
    return f"{_second(whole_s)}.{ms:03d}Z"


@lru_cache(maxsize=4)
def _second(whole_s: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole_s))


def _component(logger_name: str) -> str:
    return logger_name.removeprefix(ROOT + ".")


def _fields_of(record: logging.LogRecord) -> Mapping[str, object]:
    return cast("Mapping[str, object]", getattr(record, "fields", {}))


def _traceback(formatter: logging.Formatter, record: logging.LogRecord) -> str | None:
    if not record.exc_info:
        return None
    return formatter.formatException(record.exc_info)


def _text_value(value: object) -> str:
    """Return a value that ends where the next space is: quoted like JSON if it must be."""
    if value is None or isinstance(value, bool):
        return _JSON_WORDS[value]
    text = str(value)
    if not text.isprintable():
        return json.dumps(text)
    return text if text and not _MARKS.search(text) else _quoted(text)


def _escape_controls(text: str) -> str:
    return text if text.isprintable() else json.dumps(text)[1:-1]
