"""`leveret journal verify|dump|stats DIR`: a stopped broker's directory, as text."""

import click

from ..storage.disk import RealDisk
from ..storage.errors import JournalError
from ..storage.inspection import dump, stats, verify


def _open(directory: str) -> RealDisk:
    """The directory, locked against a broker as long as the command runs."""
    disk = RealDisk(directory, create=False)
    disk.lock(exclusive=False)
    return disk


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
    problems = 0
    try:
        for finding in verify(_open(directory)):
            click.echo(finding.text)
            problems += finding.problem
    except JournalError as error:
        raise click.ClickException(str(error)) from error
    if problems:
        raise SystemExit(1)


@journal.command("dump")
@_directory
@click.option(
    "--blob-bytes", default=32, show_default=True, help="Show so many bytes of messages and values."
)
def dump_command(directory: str, blob_bytes: int) -> None:
    """Print every record, also of a damaged journal."""
    try:
        for line in dump(_open(directory), blob_bytes=blob_bytes):
            click.echo(line)
    except JournalError as error:
        raise click.ClickException(str(error)) from error


@journal.command("stats")
@_directory
def stats_command(directory: str) -> None:
    """Print what is in it and how much of it lives."""
    try:
        for name, value in stats(_open(directory)).items():
            text = ("yes" if value else "no") if isinstance(value, bool) else str(value)
            click.echo(f"{name}: {text}")
    except JournalError as error:
        raise click.ClickException(str(error)) from error
