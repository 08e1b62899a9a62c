"""docs/compatibility.md names a test for every row: each of them exists."""

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
DOCUMENT = REPOSITORY / "docs" / "compatibility.md"
NOBODY_YET = "-"

Row = tuple[str, ...]


def rows() -> list[Row]:
    """The cells of every row of every table, without headings."""
    tables = re.findall(r"^\|---.*\n((?:\|.*\n)+)", DOCUMENT.read_text(), re.MULTILINE)
    return [
        tuple(cell.strip() for cell in line.strip("|").split(" | "))
        for table in tables
        for line in table.splitlines()
    ]


def test_every_row_has_three_cells() -> None:
    assert [row for row in rows() if len(row) != 3] == []
    assert len(rows()) > 40


def test_what_works_is_shown_by_a_test() -> None:
    unshown = [row for row in rows() if "`" not in row[2]]
    assert [row for row in unshown if row[2] != NOBODY_YET or row[1] != "not yet"] == []


@pytest.mark.parametrize("name", sorted({n for r in rows() for n in re.findall(r"`(.*?)`", r[-1])}))
def test_named_test_exists(name: str) -> None:
    file, _, test = name.partition("::")
    assert file.startswith(("tests/", "interop/"))
    text = (REPOSITORY / file).read_text()
    assert re.search(rf"^(async )?def {re.escape(test or 'test_')}", text, re.MULTILINE)
