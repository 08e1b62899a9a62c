"""`leveret journal verify|dump|stats DIR`: a stopped broker's directory, as text.

The journal is imported only once a command runs, so that other commands start quickly.
"""

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ..storage.disk import RealDisk


@contextmanager
def _opened(directory: str) -> "Generator[RealDisk, None, None]":
    """The directory, locked against a broker as long as the command runs; errors in one line."""
    from ..storage.disk import RealDisk
    from ..storage.errors import JournalError

    try:
        disk = RealDisk(directory, create=False)
        disk.lock(exclusive=False)
        yield disk
    except JournalError as error:
        raise click.ClickException(str(error)) from error


_directory = click.argument(
    "directory", metavar="DIR", type=click.Path(exists=True, file_okay=False)
)


@click.group()
def journal() -> None:
    """Look at the journal in the data directory of a stopped broker; nothing is changed."""


@journal.command("verify")
@_directory
def verify_command(directory: str) -> None:
    """Check every byte; the exit status is 1 if the journal is not whole."""
    from ..storage.inspection import verify

    problems = 0
    with _opened(directory) as disk:
        for finding in verify(disk):
            click.echo(finding.text)
            problems += finding.problem
    if problems:
        raise SystemExit(1)


@journal.command("dump")
@_directory
@click.option(
    "--blob-bytes", default=32, show_default=True, help="Show so many bytes of messages and values."
)
def dump_command(directory: str, blob_bytes: int) -> None:
    """Print every record, also of a damaged journal."""
    from ..storage.inspection import dump

    with _opened(directory) as disk:
        for line in dump(disk, blob_bytes=blob_bytes):
            click.echo(line)


@journal.command("stats")
@_directory
def stats_command(directory: str) -> None:
    """Print what is in it and how much of it lives."""
    from ..storage.inspection import stats

    with _opened(directory) as disk:
        for name, value in stats(disk).items():
            text = ("yes" if value else "no") if isinstance(value, bool) else str(value)
            click.echo(f"{name}: {text}")
