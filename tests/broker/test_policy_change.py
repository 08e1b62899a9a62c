"""Policies that change where there are very many queues: bit by bit, and each thing once."""

from collections import Counter

import pytest

from fake_client import FakeServer, message
from leveret.broker import policy_change
from leveret.broker.administration import Administration
from leveret.broker.definitions_file import read_definitions
from leveret.broker.patterns import Pattern
from leveret.broker.vhost import VirtualHost

LIMIT = {"max-length": 5}
QUEUES = 100


@pytest.fixture
def administration(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> Administration:
    """A broker with many queues, of which few are looked at in a turn."""
    monkeypatch.setattr(policy_change, "SEARCHES_AT_ONCE", 10)
    administration = Administration(server.broker)
    for number in range(QUEUES):
        administration.declare_queue("/", f"q{number}")
    return administration


@pytest.fixture
def searches(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often names have been looked at."""
    counted = Counter[str]()
    matches = Pattern.matches

    def counting(self: Pattern, name: str) -> bool:
        counted[name] += 1
        return matches(self, name)

    monkeypatch.setattr(Pattern, "matches", counting)
    return counted


def limited(vhost: VirtualHost) -> int:
    return sum(queue.settings.max_length == 5 for queue in vhost.queues.values())


def test_a_policy_for_very_many_queues_is_applied_in_several_turns(
    server: FakeServer, administration: Administration
) -> None:
    vhost = administration.vhost("/")
    administration.set_policy("/", "p", "^q", LIMIT)
    assert limited(vhost) < 15
    server.broker.finish_turn()
    assert limited(vhost) < 30
    server.end_turn()
    assert limited(vhost) == QUEUES
    administration.delete_policy("/", "p")
    server.end_turn()
    assert limited(vhost) == 0


def test_what_comes_and_goes_meanwhile_is_right_too(
    server: FakeServer, administration: Administration
) -> None:
    timers = server.broker.timers
    administration.set_policy("/", "p", "^q", {"expires": 1000, **LIMIT})
    administration.delete_queue("/", "q99")
    assert administration.declare_queue("/", "q-new").settings.max_length == 5
    administration.set_policy("/", "p", "^q[1-9]", {"max-length": 6})
    server.end_turn()
    vhost = administration.vhost("/")
    assert {name for name, queue in vhost.queues.items() if queue.settings.max_length != 6} == {
        "q0",
        "q-new",
    }
    assert limited(vhost) == 0
    assert timers.next_deadline() is None


def test_a_vhost_may_be_deleted_meanwhile(
    server: FakeServer, administration: Administration
) -> None:
    administration.set_policy("/", "p", "^q", {"expires": 1000})
    administration.delete_vhost("/")
    server.end_turn()
    assert server.broker.timers.next_deadline() is None


def test_queues_that_a_policy_is_not_for_are_looked_at_once(
    server: FakeServer, administration: Administration, searches: Counter[str]
) -> None:
    for number in range(20):
        administration.set_policy("/", f"p{number}", f"^q{number}$", LIMIT)
    server.end_turn()
    searches.clear()
    administration.set_policy("/", "p", "^q7$", LIMIT, priority=1)
    server.end_turn()
    assert searches.pop("q7") <= 3
    assert set(searches.values()) == {1}


def test_many_policies_of_a_document_are_applied_once(
    server: FakeServer, administration: Administration, searches: Counter[str]
) -> None:
    policies = [
        {"vhost": "/", "name": f"p{number}", "pattern": f"^q{number}$", "definition": LIMIT}
        for number in range(QUEUES)
    ]
    document = read_definitions(f'{{"policies": {policies}}}'.replace("'", '"'))
    administration.import_definitions(document)
    server.end_turn()
    assert limited(administration.vhost("/")) == QUEUES
    assert max(searches.values()) <= 2 * QUEUES


def test_a_policy_for_long_queues_takes_more_turns(
    server: FakeServer, administration: Administration, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy_change, "SEARCHES_AT_ONCE", 1000)
    client, vhost = server.connect(), administration.vhost("/")
    for number in range(QUEUES):
        client.feed(message(b"x", f"q{number}") * 200)
    administration.set_policy("/", "p", "^q", LIMIT)
    assert 0 < limited(vhost) < 20
    server.end_turn()
    assert limited(vhost) == QUEUES
    assert {client.ready_in(f"q{number}") for number in range(QUEUES)} == {5}
