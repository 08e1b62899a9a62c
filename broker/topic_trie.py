"""Topic patterns in a trie of words.

RabbitMQ's rules: words are split at every dot, so empty words are words, but an empty key has no
words at all; `*` matches one word (an empty one too), `#` any number; only a whole word is a
wildcard.
"""

from typing import Generic, TypeVar

Target = TypeVar("Target")


class _Node(Generic[Target]):
    __slots__ = ("any_number", "any_one", "targets", "words")

    def __init__(self) -> None:
        self.words: dict[str, _Node[Target]] = {}
        self.any_one: _Node[Target] | None = None
        self.any_number: _Node[Target] | None = None
        self.targets: list[Target] = []

    def child(self, word: str) -> "_Node[Target] | None":
        """Where a word of a pattern leads."""
        if word == "*":
            return self.any_one
        return self.any_number if word == "#" else self.words.get(word)

    def set_child(self, word: str, child: "_Node[Target] | None") -> None:
        """Let a word of a pattern lead to a node, or to none."""
        if word == "*":
            self.any_one = child
        elif word == "#":
            self.any_number = child
        elif child is None:
            del self.words[word]
        else:
            self.words[word] = child

    @property
    def idle(self) -> bool:
        """Whether nothing is here and nothing behind it."""
        return not (self.targets or self.words or self.any_one or self.any_number)


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
            child = node.child(word)
            if child is None:
                child = _Node[Target]()
                node.set_child(word, child)
            node = child
        node.targets.append(target)

    def remove(self, pattern: str, target: Target) -> None:
        """Take one such lead away, and the branch if nothing else uses it. Raises KeyError."""
        path = [self._root]
        words = words_of(pattern)
        for word in words:
            child = path[-1].child(word)
            if child is None:
                raise KeyError(pattern)
            path.append(child)
        path[-1].targets.remove(target)
        for parent, word, node in zip(path[-2::-1], reversed(words), path[:0:-1], strict=True):
            if not node.idle:
                break
            parent.set_child(word, None)

    def match(self, key: str) -> list[Target]:
        """The targets of all patterns that match a routing key; a target may come more than once.

        All nodes that the words so far can lead to are followed at once. A node for any number of
        words leads to itself with every further word.
        """
        loops: list[_Node[Target]] = []
        nodes = [self._root]
        if self._root.any_number is not None:
            _add_all_behind(nodes, loops)
        for word in words_of(key):
            steps: list[_Node[Target]] = []
            behind = False
            for node in nodes:
                for step in (node.words.get(word), node.any_one):
                    if step is not None:
                        steps.append(step)
                        behind = behind or step.any_number is not None
            nodes = loops + steps if loops else steps
            if behind:
                _add_all_behind(nodes, loops)
        if len(nodes) == 1:
            return nodes[0].targets.copy()
        return [target for node in nodes for target in node.targets]


def _add_all_behind(nodes: list[_Node[Target]], loops: list[_Node[Target]]) -> None:
    """Add the nodes behind these that need no further word; `loops` collects them."""
    for node in nodes:
        behind = node.any_number
        while behind is not None and behind not in loops:
            loops.append(behind)
            nodes.append(behind)
            behind = behind.any_number
