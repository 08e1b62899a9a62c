"""Regular expressions of operators: PCRE's, and none that takes for ever."""

import time

import pytest

from leveret.broker.patterns import InvalidPattern, Pattern
from leveret.broker.permissions import Patterns, Permissions, Right

# Each was tried on a RabbitMQ 3.10.8 with re:run/3.
MATCHING = [
    ("^a(?i)b$", "aB"),
    ("^[\\w-.]+$", "a-.b"),
    ("^\\Qa.b\\E$", "a.b"),
    ("^\\Qa.b", "a.bc"),
    ("^[[:punct:]]+$", ".,_"),
    ("^\\x{41}\\x42$", "AB"),
    ("(?<n>a)\\k<n>", "aa"),
    ("^(?'n'a)(?P=n)$", "aa"),
    ("^(?|(a)|(b))\\1$", "bb"),
    ("(?<=a|bc)d", "bcd"),
    ("^\\h\\m\\_\\-\\/$", " m_-/"),
    ("a{,3}", "a{,3}"),
    ("a{e}", "a{e}"),
    ("{client_id}", "{client_id}"),
    ("^a{2}b{1,}$", "aab"),
    ("\\\\{,", "\\{,"),
    ("^[{,]+$", "{,"),
    ("a\\Z", "a\n"),
    ("a$", "a\n"),
    ("^é$", "é"),
    ("^..$", "é"),
    (r"^\cA\c[$", "\x01\x1b"),
    (r"^[\cA]\o{101}$", "\x01A"),
    (r"^\x4\x$", "\x04\0"),
    (r"^\v\V$", "\na"),
    (r"^[\v][\V][\h][\H]$", "\ra\ta"),
    (r"^\s\S[\s][^\S]$", " a\n\t"),
    (r"^\N\N$", "é"),
    (r"^\C\n$", "\n\n"),
    (r"^(a)\g1\g{1}$", "aaa"),
    (r"^(?<n>a)\g{n}$", "aa"),
    (r"^a\Eb\E$", "ab"),
    (r"^(?-)a(?i-)b$", "aB"),
    (r"^(?i-s:a.)$", "AB"),
    (r"^[[:<:]]a[[:>:]]$", "a"),
    # To PCRE each byte is a letter of Latin-1, and the first one of ü is a capital Ã.
    (r"^\w", "ü"),
    (r"^\p{Lu}", "ü"),
    (r"^[[:upper:]][[:punct:]]$", "ü"),
    (r"^[(?<n>](?<n>b)", "nb"),
    (r"^\Q(?<n>\E(?<n>b)", "(?<n>b"),
    (r"^(?|(?<n>a)|(?<n>b))$", "b"),
    (r"^a(?#[(?R\U(?<n>)b(?<n>c)$", "abc"),
    ("(?x) a  # what follows is\n b", "ab"),
]
OTHER = [
    ("^\\Qa.b\\E$", "axb"),
    ("^a{,3}$", "aa"),
    ("a\\z", "a\n"),
    ("^.*a$", "x\na"),
    ("^.$", "é"),
    ("^\\w\\w$", "é"),
    ("^\\d$", "\u0661"),
    ("(?i)^é", "É"),
    ("[[:^digit:]]", "1"),
    (r"\V", "\n"),
    (r"[\H\V]", ""),
    (r"[\s]", "\x85"),
    (r"\N", "\n"),
    (r"^\x4$", "4"),
    (r"^(?i)à", "À"),
]


@pytest.mark.parametrize(("pattern", "name"), MATCHING)
def test_a_pattern_is_read_as_pcre_reads_it(pattern: str, name: str) -> None:
    assert Pattern(pattern).matches(name)


@pytest.mark.parametrize(("pattern", "name"), OTHER)
def test_a_pattern_matches_nothing_that_pcre_would_not_match(pattern: str, name: str) -> None:
    assert not Pattern(pattern).matches(name)


@pytest.mark.parametrize(
    ("pattern", "reason", "position"),
    [
        ("(", "missing )", 1),
        ("x[a", "missing terminating ] for character class", 3),
        ("a)", "unmatched parentheses", 1),
        ("a**", "nothing to repeat", 2),
        ("a\\", r"\\ at end of pattern", 2),
        ("\\1", "reference to non-existent subpattern", 2),
        ("(?r)a", "unrecognized character after (? or (?-", 2),
        ("(?b)a", "unrecognized character after (? or (?-", 2),
        ("(?e:a)", "unrecognized character after (? or (?-", 2),
        ("(?V1)a", "unrecognized character after (? or (?-", 2),
        ("(?<n>a)|(?<n>b)", "two named subpatterns have the same name", 12),
        (r"[\N]", r"\N is not supported in a class", 2),
        (r"\u0041", r"PCRE does not support \L, \l, \N{name}, \U, or \u", 1),
        (r"\N{DIGIT ONE}", r"PCRE does not support \L, \l, \N{name}, \U, or \u", 1),
    ],
)
def test_a_fault_is_told_in_pcres_words(pattern: str, reason: str, position: int) -> None:
    with pytest.raises(InvalidPattern) as refusal:
        Pattern(pattern)
    assert (refusal.value.reason, refusal.value.position) == (reason, position)


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("(?R)?a", "recursion"),
        ("(a)(?1)", "recursion"),
        ("(a)(?-1)", "recursion"),
        ("(?<n>a)(?&n)", "recursion"),
        ("(?<n>a)(?P>n)", "recursion"),
        (r"(a)\g<1>", "recursion"),
        (r"(a)\g{-1}", "relative references"),
        ("(?U)a+", "options J, U and X"),
        ("(?iJ)a", "options J, U and X"),
        ("(*UTF8)a", "verb"),
        (r"\o{400}", "too large"),
        (r"[\o{400}]", "too large"),
    ],
)
def test_what_pcre_has_and_we_lack_is_refused(pattern: str, reason: str) -> None:
    with pytest.raises(InvalidPattern, match=reason):
        Pattern(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        "(?:" * 20 + "a" + ")+" * 20,
        "(" * 9 + "[]a[:alpha:]]{2,3}" + "){2}" * 9,
        "((a{30}){30}){30}",
        "a{20000}",
        "a" * 20_000,
        "(?:" * 5 + "x" * 500 + "){1,}" * 5,
        "(" * 200 + "a" + ")" * 200,
    ],
)
def test_a_pattern_that_is_too_large_to_compile_is_refused_at_once(pattern: str) -> None:
    started = time.process_time()
    with pytest.raises(InvalidPattern, match=r"too large|too deeply nested"):
        Pattern(pattern)
    assert time.process_time() - started < 1


@pytest.mark.parametrize(
    "pattern",
    [
        "(?:" * 8 + "a" + ")+" * 8,
        "(" * 90 + "a" + ")" * 90,
        "(?:(?:a{0,500})*){0,500}",
        "[(]{100}|" * 90,
        r"\({9}" * 500,
        "|".join(f"^name-{number}[.]" for number in range(500)),
    ],
)
def test_a_pattern_may_be_rather_large(pattern: str) -> None:
    started = time.process_time()
    Pattern(pattern)
    assert time.process_time() - started < 1


@pytest.mark.parametrize("part", ["[", "[[:", "[\\Q", "(?<n>", "[]"])
def test_a_long_pattern_with_a_fault_is_refused_at_once(part: str) -> None:
    started = time.process_time()
    with pytest.raises(InvalidPattern):
        Pattern(part * 5000 + ")")
    assert time.process_time() - started < 1


def test_a_search_that_would_take_for_ever_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    pattern = Pattern("^(a|a)*$")
    assert pattern.matches("a" * 10)
    started = time.process_time()
    assert not pattern.matches("a" * 200 + "!")
    assert time.process_time() - started < 1
    assert "takes too long" in caplog.text


def test_a_permission_whose_pattern_takes_too_long_is_not_granted() -> None:
    permissions = Permissions("shop", "/", Patterns("^(a|a)*$", "", ""))
    with pytest.raises(Exception, match="access to queue"):
        permissions.check(Right.CONFIGURE, "queue", "a" * 200 + "!")
