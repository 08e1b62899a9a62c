"""Regular expressions of operators, which are searched for in names that clients choose.

They are read as RabbitMQ reads them, which has PCRE search through the bytes of a name (`pcre.py`);
and a search comes to an end: one that would take too long (`^(a|a)*$` doubles its steps with each
letter) finds nothing, as in RabbitMQ, which counts steps. That, and most of PCRE's syntax, is what
the library `regex` has more than Python's `re`.
"""

import logging

import regex

from .log import fields
from .pcre import Untranslatable, translated

log = logging.getLogger("leveret.patterns")

SEARCH_MAX_S = 0.02
"""How long a search may take, in seconds of the processor."""

_PARTS = regex.compile(
    r"""
    (?P<open> \( \?? )
    | (?P<close> \) )
    | (?: [*?] | (?P<many> \+ ) | \{ (?P<least> \d+ ) (?: , \d* )? \} ) [?+]?
    | (?P<part> \\ . | \[ \^? \]? (?: \\ . | \[ : \^? \w+ : \] | [^]\\] )* \] | . )
    """,
    regex.VERBOSE | regex.DOTALL,
)

_WORDS = {
    "unterminated character set": "missing terminating ] for character class",
    "bad escape (end of pattern)": r"\\ at end of pattern",
    "unbalanced parenthesis": "unmatched parentheses",
    "multiple repeat": "nothing to repeat",
    "invalid group reference": "reference to non-existent subpattern",
    "unknown group": "reference to non-existent subpattern",
    "min repeat greater than max repeat": "numbers out of order in {} quantifier",
    "bad character range": "range out of order in character class",
}
"""What `regex` says of faults, and what PCRE says."""
_SHOWN_AT_THE_END = ("missing )", _WORDS["unterminated character set"], r"\\ at end of pattern")


SIZE_MAX = 10_000
"""How many parts a pattern may have, if what is to be there `n` times at least stands n + 1 times.
`regex` writes it out like that, and so does PCRE, which has a limit, too.
"""
NESTING_MAX = 100


class InvalidPattern(ValueError):
    """Something is no regular expression: `reason` and `position` say why, in PCRE's words where
    they are known.
    """

    def __init__(self, pattern: str, reason: str, position: int):
        super().__init__(f"{pattern[:200]!r} is not a regular expression: {reason}")
        self.reason = reason
        self.position = position


class Pattern:
    """A regular expression. Raises InvalidPattern."""

    __slots__ = ("_pattern", "_search")

    def __init__(self, pattern: str):
        self._pattern = pattern
        try:
            text = translated(pattern.encode().decode("latin-1"))  # not UTF-8: a ValueError
            _check_size(pattern, text)
            compiled = regex.compile(text)
        except Untranslatable as error:
            raise InvalidPattern(pattern, error.reason, error.position) from error
        except regex.error as error:
            fault, _, place = str(error).partition(" at position ")
            reason = _WORDS.get(fault, fault)
            at = int(place.partition(" ")[0] or 0)
            if reason in _SHOWN_AT_THE_END:
                at = len(pattern)
            raise InvalidPattern(pattern, reason, at) from error
        except InvalidPattern:
            raise
        except (RecursionError, OverflowError, MemoryError, ValueError) as error:
            raise InvalidPattern(pattern, str(error), 0) from error
        self._search = compiled.search

    def matches(self, name: str) -> bool:
        """Whether it is found anywhere in a name; no if that takes too long to find out."""
        try:
            found = self._search(_bytewise(name), timeout=SEARCH_MAX_S)
        except TimeoutError:
            log.warning(
                "gave up a search; the pattern takes too long, and is taken not to match",
                extra=fields(pattern=self._pattern, name=name),
            )
            return False
        return found is not None


def _bytewise(text: str) -> str:
    """A letter for each byte of a text."""
    return text.encode("utf-8", "surrogateescape").decode("latin-1")


def _check_size(pattern: str, text: str) -> None:
    """Refuse what would take long, or very much memory, to compile."""
    sizes, last = [0], 0
    for found in _PARTS.finditer(text):
        match found.lastgroup:
            case "open":
                sizes.append(0)
                last = 0
                if len(sizes) > NESTING_MAX:
                    raise InvalidPattern(pattern, "parentheses are too deeply nested", found.end())
                continue
            case "close":
                last = sizes.pop() + 1 if len(sizes) > 1 else 1
                sizes[-1] += last
            case "part":
                last = 1
                sizes[-1] += last
            case _:
                more = last * int(found["least"] or (found["many"] is not None))
                sizes[-1] += more
                last += more
        if sizes[-1] > SIZE_MAX:
            raise InvalidPattern(pattern, "regular expression is too large", len(pattern))
