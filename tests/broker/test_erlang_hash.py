"""Erlang's hashes: every expected number is what Erlang/OTP 25 gives."""

import pytest

from leveret.broker.erlang_hash import jump_consistent_hash, phash2


@pytest.mark.parametrize(
    ("binary", "expected"),
    [
        (b"", 13708901),
        (b"a", 112802447),
        (b"abc", 98228475),
        (b"hello world!", 25699699),
        (b"hello world, long key.1234", 108231385),
    ],
)
def test_binary_is_hashed_as_by_erlang(binary: bytes, expected: int):
    assert phash2(binary) == expected


@pytest.mark.parametrize(
    ("binaries", "expected"),
    [
        ([b""], 38220213),
        ([b"a"], 53691870),
        ([b"hello world!"], 124688779),
        ([b"a", b"bc"], 20875735),
    ],
)
def test_list_of_binaries_is_hashed_as_by_erlang(binaries: list[bytes], expected: int):
    assert phash2(binaries) == expected


@pytest.mark.parametrize(
    ("key", "buckets", "expected"),
    [
        (0, 1, 0),
        (112802447, 10, 6),
        (98228475, 10, 5),
        (25699699, 1000, 597),
        (-7, 100, 45),
        (1234567890123, 100, 64),
    ],
)
def test_key_jumps_into_the_bucket_that_rabbitmq_gives_it(key: int, buckets: int, expected: int):
    assert jump_consistent_hash(key, buckets) == expected


def test_many_keys_spread_evenly():
    counts = [0] * 4
    for number in range(4000):
        counts[jump_consistent_hash(phash2(b"key %d" % number), 4)] += 1
    assert all(900 < count < 1100 for count in counts)


@pytest.mark.parametrize("buckets", [1, 5, 40])
def test_one_bucket_more_takes_keys_from_the_others_and_moves_no_others(buckets: int):
    for key in range(500):
        before = jump_consistent_hash(key, buckets)
        assert jump_consistent_hash(key, buckets + 1) in (before, buckets)
