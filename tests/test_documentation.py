"""The tables of docs/ name all that there is, and nothing else."""

import re
from pathlib import Path

import pytest

from leveret.broker.administration import Administration

REPOSITORY = Path(__file__).parent.parent
PACKAGES = ("amqp", "storage", "broker")


def part(document: str, start: str, end: str) -> str:
    text = (REPOSITORY / "docs" / document).read_text()
    return text[text.index(start) : text.index(end)]


def named_in(text: str, pattern: str) -> list[str]:
    return re.findall(rf"`({pattern})`", text)


def test_the_architecture_says_of_every_file_what_it_owns() -> None:
    named = named_in(part("architecture.md", "## Who owns what", "## Rules, and why"), r"\w+\.py")
    files = [file.name for package in PACKAGES for file in (REPOSITORY / package).glob("*.py")]
    assert sorted(named) == sorted(name for name in files if name != "__init__.py")


@pytest.mark.parametrize(
    "document", sorted((REPOSITORY / "docs").glob("*.md")), ids=lambda d: d.name
)
def test_files_that_a_document_names_exist(document: Path) -> None:
    folders = ("", *(f"{package}/" for package in PACKAGES))
    for name in named_in(document.read_text(), r"[\w/]+\.py"):
        assert any((REPOSITORY / f"{folder}{name}").exists() for folder in folders), name


def test_all_that_operators_can_do_is_listed() -> None:
    named = named_in(
        part("administration.md", "| theme | methods |", "What is asked for and is not there"),
        r"\w+",
    )
    methods = [name for name in dir(Administration) if not name.startswith("_")]
    assert sorted(named) == sorted(methods)
