"""The tests must meet the clients, not folders of leveret that have the name of a client."""

import importlib.util
import sys
from pathlib import Path

import amqp

REPOSITORY = Path(__file__).resolve().parent.parent


def test_amqp_is_py_amqp():
    assert hasattr(amqp, "Connection")
    assert "site-packages" in Path(amqp.__file__).parts


def test_repository_is_not_on_the_import_path():
    assert sys.flags.safe_path
    assert REPOSITORY not in [Path(entry).resolve() for entry in sys.path]


def test_leveret_is_not_installed_beside_the_clients():
    assert importlib.util.find_spec("leveret") is None
