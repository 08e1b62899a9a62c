"""PCRE's syntax in the words of the library `regex`, byte by byte.

RabbitMQ has PCRE search through the bytes of names, as letters of Latin-1. Here a text with one
letter for each byte is searched, so classes like `\\w` are the same; what is spelled differently is
translated, and what PCRE would refuse is refused, as is what cannot be translated.
"""

from collections import Counter
from collections.abc import Callable

import regex

_CLASS = r"""
    \[ \^? \]? (?: \\Q .*? (?: \\E | \Z ) | \\ . | \[ : \^? \w+ : \] | [^]\\] )*+ \]
"""
"""A character class from [ to ]."""

_ESCAPE = r"""
    \\Q (?P<quoted> .*? ) (?: \\E | \Z )
    | \\ x (?: \{ (?P<hex> [0-9a-fA-F]{1,2} ) \} | (?! \{ ) (?P<hex> [0-9a-fA-F]{0,2} ) )
    | \\ o \{ (?P<octal> [0-7]+ ) \}
    | \\ c (?P<control> [\x20-\x7e] )
    | \\ (?P<set> [sSvVhH] )
    | \\ (?P<escape> e )
    | \\ (?P<nothing> E )
    | \\ (?P<unknown> [LlUu] | N \{ )
    | \\ (?P<plain> [iIjJmMOqTyYF] )
"""
"""What is spelled the same in a class and elsewhere."""

_IN_CLASS = regex.compile(
    rf"""
    {_ESCAPE}
    | \[ : (?P<named> \^? (?: space | blank | punct | graph ) ) : \]
    | \\ (?P<outside> N )
    | \\ .
    """,
    regex.VERBOSE | regex.DOTALL,
)

_DIFFERENT = regex.compile(
    rf"""
    (?P<comment> \( \? \# [^)]* \) )
    | \[\[: (?P<edge> [<>] ) :\]\]
    | (?P<class> {_CLASS} )
    | (?P<unended> \[ )
    | {_ESCAPE}
    | \\ k (?: < (?P<name> \w+ ) > | \{{ (?P<name> \w+ ) \}} | ' (?P<name> \w+ ) ' )
    | \\ g \{{ (?P<name> [^\W\d]\w* ) \}}
    | \\ g (?: \{{ (?P<number> \d+ ) \}} | (?P<number> \d+ ) )
    | (?P<relative> \\ g \{{? - )
    | (?P<recursion> \\ g [<'] | \( \? (?: R \) | [-+]? \d | & | P> ) )
    | \( \? (?P<flags> [A-Za-z0-9-]+ ) (?= [:)] )
    | \(\?' (?P<group> \w+ ) '
    | \\ (?P<end> [zZ] )
    | \\ (?P<any> [NC] )
    | \\ [pP] \{{ [^}}]* \}}
    | \\ .
    | (?P<brace> \{{ ) (?! \d+ (?: , \d* )? \}} )
    """,
    regex.VERBOSE | regex.DOTALL,
)
"""What PCRE has that `regex` lacks or takes for something else, and what it must not be looked for
in.
"""

_NAMED_GROUP = regex.compile(
    rf"""
    \( \? \# [^)]* \)
    | \\Q .*? (?: \\E | \Z )
    | \\ .
    | {_CLASS}
    | \( \? (?: P?< | ' ) (?P<name> \w+ ) [>']
    """,
    regex.VERBOSE | regex.DOTALL,
)

_SETS = {
    "s": r"\t-\r\x20",
    "S": r"\x00-\x08\x0e-\x1f\x21-\xff",
    "v": r"\n-\r\x85",
    "V": r"\x00-\t\x0e-\x84\x86-\xff",
    "h": r"\t\x20\xa0",
    "H": r"\x00-\x08\n-\x1f\x21-\x9f\xa1-\xff",
}
_NAMED_SETS = {
    "space": _SETS["s"],
    "^space": _SETS["S"],
    "blank": r"\t\x20",
    "^blank": r"\x00-\x08\n-\x1f\x21-\xff",
    "punct": r"\x21-\x2f\x3a-\x40\x5b-\x60\x7b-\x7e\xa0-\xa9\xab-\xb4\xb6-\xb9\xbb-\xbf\xd7\xf7",
    "^punct": r"\x00-\x20\x30-\x39\x41-\x5a\x61-\x7a\x7f-\x9f\xaa\xb5\xba"
    r"\xc0-\xd6\xd8-\xf6\xf8-\xff",
    "graph": r"\x21-\x7e\xa0-\xff",
    "^graph": r"\x00-\x20\x7f-\x9f",
}
"""Where Latin-1's letters are of other kinds than in the tables of Erlang's PCRE."""
_FLAGS = regex.compile("[imsx]*(?:-[imsx]*)?")
_MORE_FLAGS = regex.compile("[imsxJUX]*(?:-[imsxJUX]*)?")


class Untranslatable(ValueError):
    """Either PCRE does not take it, or we cannot: `reason` and `position` say why."""

    def __init__(self, reason: str, position: int):
        super().__init__(reason)
        self.reason = reason
        self.position = position


def translated(pattern: str) -> str:
    """A pattern of PCRE, one letter for each byte, for `regex` (in its version 0).

    Raises Untranslatable.
    """
    text = _DIFFERENT.sub(_translation, pattern)
    _check_names(pattern)
    return text


def _check_names(pattern: str) -> None:
    """Of two groups with one name PCRE refuses the second, unless they are alternatives of one."""
    names: Counter[str] = Counter()
    for found in _NAMED_GROUP.finditer(pattern):
        name = found["name"]
        if name is not None:
            names[name] += 1
            if names[name] > 1 and "(?|" not in pattern:
                place = found.end("name")
                raise Untranslatable("two named subpatterns have the same name", place)


def _translation(found: "regex.Match[str]") -> str:
    kind = found.lastgroup
    if kind is None:
        return found[0]
    if kind in _SAME:
        return _SAME[kind](found[kind])
    if kind in _ELSEWHERE:
        return _ELSEWHERE[kind](found[kind])
    if kind == "flags":
        return _flags(found)
    if kind == "unended":
        raise Untranslatable("missing terminating ] for character class", len(found.string))
    reason = _REASONS[kind]
    raise Untranslatable(reason, found.start() + 1)


def _class(text: str) -> str:
    return _IN_CLASS.sub(_translation_in_class, text)


def _translation_in_class(found: "regex.Match[str]") -> str:
    kind = found.lastgroup
    if kind == "set":
        return _SETS[found["set"]]
    if kind == "named":
        return _NAMED_SETS[found["named"]]
    return _translation(found)


def _flags(found: "regex.Match[str]") -> str:
    flags = found["flags"]
    if _FLAGS.fullmatch(flags):
        needed = flags.removesuffix("-")
        return f"(?{needed}" if needed else "(?:" if found.string[found.end()] == ")" else "(?"
    if _MORE_FLAGS.fullmatch(flags):
        raise Untranslatable("the options J, U and X are not supported", found.end())
    raise Untranslatable("unrecognized character after (? or (?-", found.start("flags"))


def _octal(digits: str) -> str:
    value = int(digits, 8)
    if value > 255:
        raise Untranslatable(r"character value in \x{} or \o{} is too large", 0)
    return rf"\x{value:02x}"


_SAME: dict[str, Callable[[str], str]] = {
    "quoted": regex.escape,
    "hex": lambda digits: rf"\x{int(digits or '0', 16):02x}",
    "octal": _octal,
    "control": lambda letter: rf"\x{ord(letter.upper()) ^ 0x40:02x}",
    "set": lambda letter: f"[{_SETS[letter]}]",
    "escape": lambda letter: r"\x1b",
    "nothing": lambda letter: "",
    "plain": lambda letter: letter,
}
_ELSEWHERE: dict[str, Callable[[str], str]] = {
    "comment": lambda comment: "",
    "class": _class,
    "name": lambda name: f"(?P={name})",
    "number": lambda number: rf"\g<{number}>",
    "group": lambda name: f"(?P<{name}>",
    "end": lambda letter: r"\Z" if letter == "z" else r"(?=\n?\Z)",
    "any": lambda letter: r"[^\n]" if letter == "N" else r"[\x00-\xff]",
    "brace": lambda brace: r"\{",
    "edge": lambda side: r"\b(?=\w)" if side == "<" else r"\b(?<=\w)",
}
_REASONS = {
    "unknown": r"PCRE does not support \L, \l, \N{name}, \U, or \u",
    "relative": "relative references are not supported",
    "recursion": "recursion is not supported",
    "outside": r"\N is not supported in a class",
}
