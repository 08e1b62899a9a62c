"""Field values as RabbitMQ prints them in texts: Erlang terms."""

from ..amqp.fields import Field
from ..amqp.frames import erlang_binary


def erlang_term(field: Field) -> str:
    """A value as Erlang's ~p prints it."""
    value = field.value
    if value is None:
        return "undefined"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return erlang_binary(value)
    if isinstance(value, tuple):
        return f"{{{value[0]},{value[1]}}}"
    if isinstance(value, list):
        return f"[{','.join(f'{{{_typed(item)}}}' for item in value)}]"
    if isinstance(value, dict):
        return f"[{','.join(f'{{{_name(name)},{_typed(value[name])}}}' for name in value)}]"
    return str(value)


def _typed(field: Field) -> str:
    return f"{field.type_name},{erlang_term(field)}"


def _name(name: str) -> str:
    return erlang_binary(name.encode("utf-8", "surrogateescape"))
