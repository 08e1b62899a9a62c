import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leveret.broker.topic_trie import TopicTrie

KEYS = ("", "a", "a.b", "a.b.c", "a..b", ".a", "a.", ".", "..", "A", "a.b.")


# RabbitMQ's answers, found by asking it.
@pytest.mark.parametrize(
    ("pattern", "matched"),
    [
        ("#", KEYS),
        ("#.#", KEYS),
        ("*", ("a", "A")),
        ("", ("",)),
        ("*.#", KEYS[1:]),
        ("a.#", ("a", "a.b", "a.b.c", "a..b", "a.", "a.b.")),
        ("a.#.b", ("a.b", "a..b")),
        ("#.b", ("a.b", "a..b")),
        ("a.*.b", ("a..b",)),
        ("*.a", (".a",)),
        ("a.*", ("a.b", "a.")),
        ("*.*", ("a.b", ".a", "a.", ".")),
        (".", (".",)),
        ("*.", ("a.", ".")),
        ("#.", ("a.", ".", "..", "a.b.")),
        ("a.b", ("a.b",)),
        ("##", ()),
        ("a*", ()),
        ("*b", ()),
    ],
)
def test_patterns_match_as_in_rabbitmq(pattern: str, matched: tuple[str, ...]) -> None:
    trie = TopicTrie[str]()
    trie.add(pattern, "it")
    assert tuple(key for key in KEYS if trie.match(key)) == matched


def test_wildcards_are_plain_words_in_a_key() -> None:
    trie = TopicTrie[str]()
    for pattern in ("a.*", "a.#", "a.b"):
        trie.add(pattern, pattern)
    assert set(trie.match("a.*")) == {"a.*", "a.#"}
    assert set(trie.match("a.#")) == {"a.*", "a.#"}
    assert set(trie.match("#")) == set()
    assert set(trie.match("*.b")) == set()


def test_a_target_that_was_added_twice_is_removed_twice() -> None:
    trie = TopicTrie[str]()
    for _ in range(2):
        trie.add("a.#", "it")
    trie.remove("a.#", "it")
    assert set(trie.match("a.b")) == {"it"}
    trie.remove("a.#", "it")
    assert not trie.match("a.b")


def test_only_what_was_added_can_be_removed() -> None:
    trie = TopicTrie[str]()
    trie.add("a.b", "it")
    with pytest.raises(KeyError):
        trie.remove("a.c", "it")
    with pytest.raises(ValueError, match="not in list"):
        trie.remove("a", "it")


def test_many_wildcards_cost_little() -> None:
    trie = TopicTrie[str]()
    trie.add(".".join(["#", "a"] * 20 + ["b"]), "it")
    assert not trie.match(".".join(["a"] * 100))


words = st.sampled_from(["a", "b", "", "ab", "aa"])
keys = st.lists(words, max_size=6).map(".".join)
patterns = st.lists(words | st.sampled_from(["*", "#"]), max_size=6).map(".".join)


def as_regex(pattern: str) -> str:
    """A pattern over words that are each closed by a dot."""
    parts = pattern.split(".") if pattern else []
    return "".join(
        {"*": r"[^.]*\.", "#": r"(?:[^.]*\.)*"}.get(part, f"{part}\\.") for part in parts
    )


def matches(pattern: str, key: str) -> bool:
    return re.fullmatch(as_regex(pattern), f"{key}." if key else "") is not None


@pytest.mark.slow
@settings(deadline=None)
@given(
    added=st.lists(st.tuples(patterns, st.integers(0, 3)), max_size=12),
    removed=st.sets(st.integers(0, 11)),
    looked_up=st.lists(keys, min_size=1, max_size=5),
)
def test_the_trie_agrees_with_regular_expressions(
    added: list[tuple[str, int]], removed: set[int], looked_up: list[str]
) -> None:
    trie = TopicTrie[int]()
    for pattern, target in added:
        trie.add(pattern, target)
    left = [lead for at, lead in enumerate(added) if at not in removed]
    for at in sorted(removed):
        if at < len(added):
            trie.remove(*added[at])
    for key in looked_up:
        assert set(trie.match(key)) == {target for pattern, target in left if matches(pattern, key)}
    for lead in left:
        trie.remove(*lead)
    assert all(not trie.match(key) for key in KEYS)
    assert trie._root.idle
