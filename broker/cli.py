"""The `leveret` command.

Standard output carries one line, when clients may connect; logs and errors go to standard error.
The exit status is 0 after an orderly stop and 1 for anything that kept the broker from starting.
Whatever is slow to import is imported by the command that needs it.
"""

import errno
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click

from . import __version__
from .journal_cli import journal
from .log import Format, Level
from .rules import RULES, EmulatedVersion

if TYPE_CHECKING:
    from .configuration import Configuration

_REASONS = {
    errno.EADDRINUSE: "the address is in use; is another broker running?",
    errno.EACCES: "permission denied; ports below 1024 need privileges",
    errno.EADDRNOTAVAIL: "this machine has no such address",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with these arguments (the process's own) and return its exit status."""
    try:
        cli.main(arguments, prog_name="leveret", standalone_mode=False)
    except click.ClickException as error:
        click.echo(f"leveret: {_one_line(error)}", err=True)
        return 1
    except click.Abort:
        return 130
    return 0


@click.group(no_args_is_help=False)
@click.version_option(__version__, message="%(prog)s %(version)s")
def cli() -> None:
    """An AMQP 0-9-1 broker, a drop-in for RabbitMQ."""


@cli.command()
@click.option("--host", metavar="ADDRESS", help="Address or name to listen on.")
@click.option("--port", type=click.IntRange(0, 65_535), help="Port; 0 takes a free one.")
@click.option(
    "--config",
    "file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="TOML file; flags override it.",
)
@click.option(
    "--data-dir",
    metavar="DIRECTORY",
    help="Where durable queues and messages are kept [default: $LEVERET_DATA_DIR, else the"
    " platform's place for such data].",
)
@click.option(
    "--definitions",
    metavar="FILE",
    help="Load users, vhosts, queues and so on from a file like RabbitMQ's definitions.json.",
)
@click.option("--in-memory", is_flag=True, help="Keep nothing on disk.")
@click.option(
    "--emulate",
    type=click.Choice(list(RULES)),
    help="Follow the rules of this version of RabbitMQ [default: 3.13].",
)
@click.option("--log-level", type=click.Choice(get_args(Level)), help="Log this level and above.")
@click.option("--log-format", type=click.Choice(get_args(Format)), help="Log as text or JSON.")
def serve(
    host: str | None,
    port: int | None,
    file: Path | None,
    data_dir: str | None,
    definitions: str | None,
    in_memory: bool,
    emulate: EmulatedVersion | None,
    log_level: Level | None,
    log_format: Format | None,
) -> None:
    """Run the broker until SIGTERM or SIGINT."""
    from .configuration import ConfigurationError

    try:
        configuration = _read(file).override(
            host=host,
            port=port,
            log_level=log_level,
            log_format=log_format,
            data_dir=data_dir,
            definitions=definitions,
            in_memory=in_memory,
            emulate=emulate,
        )
    except ConfigurationError as error:
        raise click.ClickException(str(error)) from error
    _run(configuration)


cli.add_command(journal)


@cli.command()
@click.argument("file", type=click.Path(path_type=Path))
def config_check(file: Path) -> None:
    """Check a configuration file without starting anything."""
    _read(file)
    click.echo(f"{file}: ok")


def _read(file: Path | None) -> "Configuration":
    from .configuration import Configuration, ConfigurationError, load

    if file is None:
        return Configuration()
    try:
        return load(file)
    except ConfigurationError as error:
        raise click.ClickException(str(error)) from error


def _run(configuration: "Configuration") -> None:
    import trio

    from ..storage.errors import JournalError
    from . import log
    from .configuration import ConfigurationError
    from .process import serve as serve_clients

    log.configure(configuration.log.level, configuration.log.format)
    ready_at: list[str] = []

    def ready(host: str, port: int) -> None:
        ready_at.append(_address(host, port))
        click.echo(f"leveret {__version__} ready on {ready_at[0]}")

    try:
        trio.run(partial(serve_clients, configuration, ready=ready))
    except (ConfigurationError, JournalError) as error:
        raise click.ClickException(str(error)) from error
    except (OSError, UnicodeError) as error:
        if ready_at:
            raise
        address = _address(configuration.listen.host, configuration.listen.port)
        raise click.ClickException(f"cannot listen on {address}: {_reason(error)}") from error


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _reason(error: OSError | UnicodeError) -> str:
    from socket import gaierror

    if isinstance(error, UnicodeError):  # raised by IDNA, before anyone is asked for the address
        return "that is no host's name"
    if isinstance(error, gaierror):
        return f"the host's name can't be resolved ({error.strerror})"
    return _REASONS.get(error.errno or 0) or error.strerror or str(error)


def _one_line(error: click.ClickException) -> str:
    message = " ".join(error.format_message().split())
    if isinstance(error, click.UsageError) and error.ctx is not None:
        return f"{message} Try '{error.ctx.command_path} --help'."
    return message
