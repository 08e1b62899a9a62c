import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leveret.amqp.errors import PreconditionFailed
from leveret.amqp.fields import Field, Table
from leveret.broker.header_match import HeaderIndex

ONE, TWO = Field("b", 1), Field("b", 2)


class HeaderMatch:
    """An index of one binding."""

    def __init__(self, arguments: Table):
        self._index = HeaderIndex[str]()
        self._index.add("it", arguments)

    def matches(self, headers: Table) -> bool:
        return set(self._index.match(headers)) == {"it"}


def text(value: str) -> Field:
    return Field("S", value.encode())


def with_mode(mode: str | None, arguments: Table) -> Table:
    return arguments if mode is None else {"x-match": text(mode), **arguments}


# RabbitMQ's answers, found by asking it: those of each group equal each other and nothing else.
EQUALS = [
    [Field(tag, 1) for tag in "bBsuIilLT"] + [Field("d", 1.0), Field("f", 1.0)],
    [Field("b", 0), Field("d", 0.0), Field("d", -0.0)],
    [Field("t", True)],
    [Field("t", False)],
    [Field("S", b"1"), Field("x", b"1")],
    [Field("S", b""), Field("x", b"")],
    [Field("D", (0, 1))],
    [Field("D", (1, 10))],
    [Field("A", [ONE])],
    [Field("A", [Field("l", 1)])],
    [Field("A", [Field("d", 1.0)])],
    [Field("A", [ONE, TWO])],
    [Field("A", []), Field("F", {})],
    [Field("F", {"x": ONE})],
    [Field("F", {"x": Field("l", 1)})],
    [Field("F", {"x": ONE, "y": TWO})],
    [Field("F", {"y": TWO, "x": ONE})],
]


@pytest.mark.parametrize("group", range(len(EQUALS)))
def test_values_equal_as_in_rabbitmq(group: int) -> None:
    for wanted in EQUALS[group]:
        match = HeaderMatch({"h": wanted})
        for other, headers in enumerate(EQUALS):
            for value in headers:
                assert match.matches({"h": value}) == (other == group), (wanted, value)


@pytest.mark.parametrize("value", [group[0] for group in EQUALS] + [Field("V", None)])
def test_a_void_argument_asks_only_that_the_header_be_there(value: Field) -> None:
    match = HeaderMatch({"h": Field("V", None)})
    assert match.matches({"h": value})
    assert not match.matches({"other": value})


@pytest.mark.parametrize(
    ("mode", "headers"),
    [
        (None, [{"a": ONE, "b": TWO}, {"a": ONE, "b": TWO, "c": ONE}]),
        ("all", [{"a": ONE, "b": TWO}, {"a": ONE, "b": TWO, "c": ONE}]),
        ("any", [{"a": ONE}, {"b": TWO}, {"a": TWO, "b": TWO}]),
        ("all-with-x", [{"a": ONE, "b": TWO}]),
        ("any-with-x", [{"a": ONE}, {"b": TWO}]),
    ],
)
def test_x_match_says_how_many_must_agree(mode: str | None, headers: list[Table]) -> None:
    match = HeaderMatch(with_mode(mode, {"a": ONE, "b": TWO}))
    for each in headers:
        assert match.matches(each)
    for each in ({}, {"a": TWO}, {"a": TWO, "b": ONE}, {"c": ONE}):
        assert not match.matches(each)
    assert match.matches({"a": ONE}) == (mode is not None and mode.startswith("any"))


@pytest.mark.parametrize(
    ("mode", "matched"),
    [(None, True), ("all", True), ("any", False), ("all-with-x", True), ("any-with-x", False)],
)
def test_without_arguments_all_matches_everything_and_any_nothing(
    mode: str | None, matched: bool
) -> None:
    for headers in ({}, {"a": ONE}):
        assert HeaderMatch(with_mode(mode, {})).matches(headers) == matched


def test_arguments_that_begin_with_x_count_only_if_asked_for() -> None:
    arguments = {"x-a": ONE}
    for mode in (None, "all"):
        assert HeaderMatch(with_mode(mode, arguments)).matches({})
    assert not HeaderMatch(with_mode("any", arguments)).matches({"x-a": ONE})
    for mode in ("all-with-x", "any-with-x"):
        match = HeaderMatch(with_mode(mode, arguments))
        assert match.matches({"x-a": ONE})
        assert not match.matches({"x-a": TWO})


@pytest.mark.parametrize("mode", ["", "ALL", "some"])
def test_other_modes_are_refused(mode: str) -> None:
    with pytest.raises(PreconditionFailed, match="expected all, any, all-with-x, or any-with-x"):
        HeaderMatch(with_mode(mode, {}))


names = st.sampled_from(["a", "b", "c", "x-a", "x-b"])
values = st.sampled_from([*(field for group in EQUALS for field in group), Field("V", None)])
tables = st.dictionaries(names, values, max_size=5)
MODES = (None, "all", "any", "all-with-x", "any-with-x")


def group_of(field: Field) -> object:
    # By what it looks like: to Python, tables in another order are equal.
    groups = ([repr(each) for each in group] for group in EQUALS)
    return next((number for number, group in enumerate(groups) if repr(field) in group), "void")


@pytest.mark.slow
@settings(deadline=None)
@given(st.sampled_from(MODES), tables, tables)
def test_it_agrees_with_a_plain_reading_of_the_rules(
    mode: str | None, arguments: Table, headers: Table
) -> None:
    with_x = mode is not None and mode.endswith("-with-x")
    counting = {name: arguments[name] for name in arguments if with_x or name[:2] != "x-"}
    agreeing = [
        name in headers and (field.tag == "V" or group_of(field) == group_of(headers[name]))
        for name, field in counting.items()
    ]
    expected = any(agreeing) if mode is not None and mode[:3] == "any" else all(agreeing)
    assert HeaderMatch(with_mode(mode, arguments)).matches(headers) == expected


@pytest.mark.slow
@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(MODES), tables, st.booleans()), max_size=6),
    st.lists(tables, max_size=3),
)
def test_many_bindings_are_found_as_each_one_by_itself(
    bindings: list[tuple[str | None, Table, bool]], messages: list[Table]
) -> None:
    index, alone = HeaderIndex[int](), dict[int, HeaderMatch]()
    for number, (mode, arguments, _) in enumerate(bindings):
        index.add(number, with_mode(mode, arguments))
        alone[number] = HeaderMatch(with_mode(mode, arguments))
    for number, (_, _, removed) in enumerate(bindings):
        if removed:
            index.remove(number)
            del alone[number]
    for headers in messages:
        expected = {number for number, match in alone.items() if match.matches(headers)}
        assert set(index.match(headers)) == expected


def test_an_index_without_bindings_keeps_nothing() -> None:
    index = HeaderIndex[int]()
    modes = (None, "any")
    for number, mode in enumerate(modes):
        index.add(number, with_mode(mode, {"a": ONE, "b": TWO, "c": Field("V", None)}))
    for number in range(len(modes)):
        index.remove(number)
    assert not any(getattr(index, name) for name in HeaderIndex.__slots__)
