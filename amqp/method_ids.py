"""Declaring a method: a NamedTuple with its class and method id."""

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

Method: TypeAlias = tuple[Any, ...]
MethodType = TypeVar("MethodType", bound=type[tuple[Any, ...]])

METHOD_IDS: dict[type[Method], tuple[int, int]] = {}
"""(class id, method id) of every method's type."""


def method(class_id: int, method_id: int) -> Callable[[MethodType], MethodType]:
    """Declare a NamedTuple to be the method with these ids."""

    def register(declared: MethodType) -> MethodType:
        METHOD_IDS[declared] = class_id, method_id
        return declared

    return register
