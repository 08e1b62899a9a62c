"""Topic patterns in a trie of words.

RabbitMQ's rules: words are split at every dot, so empty words are words, but an empty key has no
words at all; `*` matches one word (an empty one too), `#` any number; only a whole word is a
wildcard.
"""

from typing import Generic, TypeVar

Target = TypeVar("Target")


class _Node(Generic[Target]):
    __slots__ = ("children", "targets")

    def __init__(self) -> None:
        self.children: dict[str, _Node[Target]] = {}
        self.targets: list[Target] = []


def words_of(key: str) -> list[str]:
    """The words of a routing key or pattern."""
    return key.split(".") if key else []


class TopicTrie(Generic[Target]):
    """Patterns and what they lead to; one target may stand under a pattern several times."""

    __slots__ = ("_root",)

    def __init__(self) -> None:
        self._root: _Node[Target] = _Node()

    def add(self, pattern: str, target: Target) -> None:
        """Let a pattern lead to a target."""
        node = self._root
        for word in words_of(pattern):
            child = node.children.get(word)
            if child is None:
                child = node.children[word] = _Node()
            node = child
        node.targets.append(target)

    def remove(self, pattern: str, target: Target) -> None:
        """Take one such lead away, and the branch if nothing else uses it."""
        path = [self._root]
        words = words_of(pattern)
        for word in words:
            path.append(path[-1].children[word])
        path[-1].targets.remove(target)
        for parent, word, node in zip(path[-2::-1], reversed(words), path[:0:-1], strict=True):
            if node.targets or node.children:
                break
            del parent.children[word]

    def match(self, key: str) -> list[Target]:
        """The targets of all patterns that match a routing key; a target may come more than
        once.
        """
        words = words_of(key)
        count = len(words)
        found: list[Target] = []
        work: list[tuple[_Node[Target], int]] = [(self._root, 0)]
        while work:
            node, at = work.pop()
            children = node.children
            if at == count:
                found += node.targets
            elif children:
                child = children.get(words[at])
                if child is not None and words[at] not in ("*", "#"):
                    work.append((child, at + 1))
                child = children.get("*")
                if child is not None:
                    work.append((child, at + 1))
            child = children.get("#")
            if child is not None:
                if child.children:
                    work.extend((child, rest) for rest in range(at, count + 1))
                else:
                    found += child.targets
        return found
