"""Erlang's hashes, so that a hashing exchange picks the destination that RabbitMQ would pick.

`phash2` is erlang:phash2/1 for binaries and lists of them: Bob Jenkins' lookup2 (Dr. Dobb's
Journal, September 1997), 27 bits of it. `jump_consistent_hash` is the algorithm of Lamping and
Veach (https://arxiv.org/abs/1406.2294), which RabbitMQ feeds from Erlang's exs1024 generator:
Vigna's xorshift1024* (https://arxiv.org/abs/1402.6246), seeded by a xorshift64*.
"""

from collections.abc import Iterator, Sequence

PHASH2_UNDEFINED = 45914356
"""phash2 of the atom `undefined`, which stands for a header or property that is not there."""
PHASH2_TRUE, PHASH2_FALSE = 506293, 7111573

_GOLDEN_RATIO = 0x9E3779B9
_BINARY_SEED = 13 * _GOLDEN_RATIO
_NIL_SEED = 2 * _GOLDEN_RATIO
_NIL = 2
_MASK_21 = (1 << 21) - 1
_MASK_27 = (1 << 27) - 1
_MASK_32 = (1 << 32) - 1
_MASK_64 = (1 << 64) - 1
_STATE_WORDS = 16


def phash2(term: bytes | Sequence[bytes]) -> int:
    """The hash of a binary, or of a list of at least one binary: 0 to 2**27 - 1."""
    if isinstance(term, bytes):
        return _add_binary(term, 0) & _MASK_27
    state = 0
    for binary in term:
        state = _add_binary(binary, state)
    return _mix(_NIL_SEED + _NIL, _NIL_SEED, state) & _MASK_27


def jump_consistent_hash(key: int, buckets: int) -> int:
    """The bucket of a key: 0 to `buckets` - 1.

    With one bucket more only those keys change theirs that go to the new one.
    """
    bucket, jump = -1, 0
    draws = _exs1024(key)
    while jump < buckets:
        bucket = jump
        jump = int((bucket + 1) / (next(draws) / 2**64))
    return bucket


def _add_binary(binary: bytes, state: int) -> int:
    start = (_BINARY_SEED + state) & _MASK_32
    if not binary:
        return start
    a = b = _GOLDEN_RATIO
    c = start
    whole = len(binary) - len(binary) % 12
    for at in range(0, whole, 12):
        a += int.from_bytes(binary[at : at + 4], "little")
        b += int.from_bytes(binary[at + 4 : at + 8], "little")
        c += int.from_bytes(binary[at + 8 : at + 12], "little")
        a, b, c = _mixed(a, b, c)
    rest = binary[whole:]
    a += int.from_bytes(rest[:4], "little")
    b += int.from_bytes(rest[4:8], "little")
    c += len(binary) + (int.from_bytes(rest[8:], "little") << 8)
    return _mix(a, b, c)


def _mix(a: int, b: int, c: int) -> int:
    return _mixed(a, b, c)[2]


def _mixed(a: int, b: int, c: int) -> tuple[int, int, int]:
    mask = _MASK_32
    for right, left, last in ((13, 8, 13), (12, 16, 5), (3, 10, 15)):
        a = (a - b - c & mask) ^ (c & mask) >> right
        b = (b - c - a & mask) ^ (a << left & mask)
        c = (c - a - b & mask) ^ b >> last
    return a, b, c


def _exs1024(key: int) -> Iterator[int]:
    """The 64-bit numbers of rand:seed_s(exs1024, {Key, Key, Key})."""
    words = _seed_words(key)
    at = 0
    while True:
        first, at = words[at], (at + 1) % _STATE_WORDS
        second = words[at]
        second ^= second << 31 & _MASK_64
        second ^= second >> 11
        words[at] = first ^ first >> 30 ^ second
        yield words[at] * 1181783497276652981 & _MASK_64


def _seed_words(key: int) -> list[int]:
    low = (key & _MASK_21) + 1
    first, second, third = (low * factor & _MASK_21 for factor in (2097131, 2097133, 2097143))
    word = first << 43 | second << 22 | third << 1 | 1
    words: list[int] = []
    for _ in range(_STATE_WORDS):
        word ^= word >> 12
        word ^= word << 25 & _MASK_64
        word ^= word >> 27
        words.append(word * 2685821657736338717 & _MASK_64)
    return words[::-1]
