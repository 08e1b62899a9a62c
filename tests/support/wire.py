"""Hypothesis strategies for what goes over the wire: fields, tables, arguments, damaged bytes."""

from collections.abc import Mapping

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from leveret.amqp.fields import Field, Table

INTEGER_RANGES = {
    "b": (-(2**7), 2**7 - 1),
    "B": (0, 2**8 - 1),
    "s": (-(2**15), 2**15 - 1),
    "u": (0, 2**16 - 1),
    "I": (-(2**31), 2**31 - 1),
    "i": (0, 2**32 - 1),
    "l": (-(2**63), 2**63 - 1),
    "L": (-(2**63), 2**63 - 1),
    "T": (0, 2**64 - 1),
}

any_bytes = st.binary(max_size=40)
octet, short, long, longlong = (st.integers(0, 2**bits - 1) for bits in (8, 16, 32, 64))


def encoded_within(text: str, limit: int = 255) -> bool:
    """Whether a text fits into so many bytes."""
    return len(text.encode("utf-8", "surrogateescape")) <= limit


shortstr = st.one_of(
    st.text(max_size=8), st.text(max_size=255).filter(encoded_within), st.just("q" * 255)
)
"""Text that a short string holds."""

shortstr_bytes = st.one_of(st.binary(max_size=8), st.binary(min_size=255, max_size=255)).map(
    lambda content: bytes((len(content),)) + content
)
"""Short strings as encoded; those of properties need not be UTF-8."""

any_name = st.one_of(st.binary(max_size=6), st.binary(min_size=255, max_size=255)).map(
    lambda name: name.decode("utf-8", "surrogateescape")
)
"""A table's names; they need not be UTF-8."""

scalars: dict[str, SearchStrategy[Field]] = {
    tag: st.builds(Field, st.just(tag), values)
    for tag, values in {
        "t": st.booleans(),
        **{tag: st.integers(*bounds) for tag, bounds in INTEGER_RANGES.items()},
        "f": st.floats(width=32),
        "d": st.floats(),
        "D": st.tuples(octet, long),
        "S": any_bytes,
        "x": any_bytes,
        "V": st.none(),
    }.items()
}
"""Fields that hold no other fields, by tag."""


def field_values(
    changed: Mapping[str, SearchStrategy[Field]] | None = None,
    names: SearchStrategy[str] = any_name,
    *,
    leaves: int = 8,
) -> SearchStrategy[Field]:
    """Fields of every tag, tables and arrays among them; `changed` replaces scalars by tag."""
    return st.recursive(
        st.one_of(*({**scalars, **(changed or {})}.values())),
        lambda inner: st.one_of(
            st.builds(Field, st.just("A"), st.lists(inner, max_size=4)),
            st.builds(Field, st.just("F"), st.dictionaries(names, inner, max_size=4)),
        ),
        max_leaves=leaves,
    )


field = field_values()
table: SearchStrategy[Table] = st.dictionaries(any_name, field, max_size=5)


@st.composite
def damaged(draw: st.DrawFn, intact: SearchStrategy[bytes]) -> bytes:
    """Valid bytes with a few of them changed, added or taken out, or with the end cut off."""
    data = bytearray(draw(intact))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        match draw(st.sampled_from(("change", "add", "remove", "cut"))):
            case "change":
                data[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
            case "add":
                data[at:at] = draw(st.binary(min_size=1, max_size=4))
            case "remove":
                del data[at : at + draw(st.integers(1, 4))]
            case _:
                del data[at:]
    return bytes(data)


@st.composite
def pieces(draw: st.DrawFn, stream: bytes) -> list[bytes]:
    """The stream cut anywhere, as a network may cut it."""
    cuts = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    return [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
