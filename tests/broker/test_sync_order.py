"""No confirm before its message is synced: seen on a disk in memory, and in the system calls of a
real broker.
"""

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest
import trio
from pamqp.commands import Basic, Confirm, Queue

from broker_process import BrokerProcess, broker_process
from fake_client import FakeClient, message
from leveret.amqp.frames import method_frame
from leveret.amqp.methods import (
    BasicAck,
    ConfirmSelect,
    ConfirmSelectOk,
    QueueDeclare,
    QueueDeclareOk,
)
from leveret.storage.settings import Settings
from raw_client import RawClient, connected
from simulation.scale import small_scale
from simulation.world import World

PERSISTENT = 2
BURSTS = (1, 1, 3, 40, 1, 200, 7)


def lose_all(choices: int) -> int:
    """Of a MemoryDisk's unsynced writes and directory steps, let none survive."""
    return int(choices == 3)


def synced_bytes(world: World) -> bytes:
    return b"".join(world.disk.crash(lose_all).files().values())


@pytest.fixture
def world() -> Iterator[World]:
    with small_scale():
        yield World(Settings(segment_bytes=4096), 0)


def confirmed(client: FakeClient) -> int:
    """The highest tag among the confirms that have come meanwhile, 0 without."""
    tags = [
        each.call.delivery_tag for each in client.received() if isinstance(each.call, Basic.Ack)
    ]
    return max(tags, default=0)


@pytest.mark.parametrize("seed", range(5))
def test_no_confirm_is_sent_before_its_message_would_survive(world: World, seed: int) -> None:
    chance = Random(seed)
    client = world.connect()
    client.send(Queue.Declare(queue="q", durable=True), Confirm.Select())
    published = done = 0
    operations: list[str] = []

    def look(operation: str, name: str) -> None:
        """Between any two operations of the disk."""
        nonlocal done
        operations.append(operation)
        done = max(done, confirmed(client))
        on_disk = synced_bytes(world)
        assert all(b"<%d>" % n in on_disk for n in range(1, done + 1))

    world.disk.fault = look
    while done < sum(BURSTS):
        if published < sum(BURSTS) and chance.randrange(2):
            burst = range(published + 1, published + 1 + chance.choice(BURSTS))
            burst = burst[: sum(BURSTS) - published]
            client.feed(
                b"".join(message(b"<%d>" % n, "q", delivery_mode=PERSISTENT) for n in burst)
            )
            published += len(burst)
        step = chance.choice((world.write, world.notice, world.commit))
        step()
        look("", "")
    assert "sync" in operations


# --- a real broker ----------------------------------------------------------------------------

_CALL = re.compile(r"^(\d+) +(?:<\.\.\. (\w+) resumed>|(\w+)\()(.*)$")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_MARKER = re.compile(rb"<(\d+):(\d+)>")
_TRACED = "pwrite64,pwritev,pwritev2,fdatasync,fsync,sendto,sendmsg,write"


@contextmanager
def traced(broker: BrokerProcess, output: Path) -> Iterator[None]:
    """Write a process's calls that concern disk and sockets down, in order."""
    command = ["strace", "-f", "-xx", "-s", "1000000", "-e", f"trace={_TRACED}", "-o", str(output)]
    strace = subprocess.Popen([*command, "-p", str(broker.pid)], stderr=subprocess.PIPE, text=True)
    try:
        assert strace.stderr is not None
        line = strace.stderr.readline()
        if "attached" not in line:
            pytest.skip(f"NOT TESTED: strace can't trace here ({line.strip()})")
        yield
    finally:
        strace.terminate()
        strace.communicate()


async def publish_in_bursts(port: int, number: int) -> None:
    """Publish persistent messages `<number:tag>` on channel `number`; wait for each burst."""
    async with connected(port) as client:
        await client.log_in()
        await client.open_channel(number)
        declare = QueueDeclare(0, "q", False, True, False, False, False, {})
        await client.call(number, declare, QueueDeclareOk)
        await client.call(number, ConfirmSelect(False), ConfirmSelectOk)
        published = 0
        for burst in BURSTS:
            await client.send(
                b"".join(
                    message(b"<%d:%d>" % (number, n), "q", channel=number, delivery_mode=PERSISTENT)
                    for n in range(published + 1, published + burst + 1)
                )
            )
            published += burst
            await wait_for_confirms(client, published)


async def wait_for_confirms(client: RawClient, last: int) -> None:
    while (await client.expect(BasicAck)).delivery_tag < last:
        pass


@pytest.mark.slow
@pytest.mark.trio
@pytest.mark.skipif(shutil.which("strace") is None, reason="NOT TESTED: strace is not installed")
async def test_system_calls_sync_a_message_before_they_send_its_confirm(tmp_path: Path) -> None:
    with trio.fail_after(30):
        async with broker_process() as broker:
            with traced(broker, tmp_path / "calls"):
                async with trio.open_nursery() as nursery:
                    for number in (1, 2):
                        nursery.start_soon(publish_in_bursts, broker.port, number)
    confirms, syncs = check_order((tmp_path / "calls").read_text())
    assert confirms == {1: sum(BURSTS), 2: sum(BURSTS)}
    assert syncs >= len(BURSTS)


def check_order(calls: str) -> tuple[dict[int, int], int]:
    """Check that each confirm is sent after a sync that began after its message was written.

    Returns the last confirm for each channel and the number of syncs.
    """
    started: dict[str, tuple[str, set[tuple[int, int]]]] = {}
    written: set[tuple[int, int]] = set()
    synced: set[tuple[int, int]] = set()
    confirms: dict[int, int] = {}
    syncs = 0
    for line in calls.splitlines():
        match = _CALL.match(line)
        if match is None:
            continue
        thread, resumed, name, rest = match.groups()
        if name is not None:
            data = b"".join(bytes.fromhex(text.replace("\\x", "")) for text in _TEXT.findall(rest))
            if name in ("sendto", "sendmsg"):
                for channel, tag in acks_in(data):
                    covered = {(channel, n) for n in range(confirms.get(channel, 0) + 1, tag + 1)}
                    assert covered <= synced, f"confirm {tag} on channel {channel} is too early"
                    confirms[channel] = tag
            markers = {(int(channel), int(n)) for channel, n in _MARKER.findall(data)}
            started[thread] = name, set(written) if name == "fdatasync" else markers
        if "unfinished ..." in rest:
            continue
        name, concerned = started.pop(thread, (resumed, set[tuple[int, int]]()))
        assert name is not None
        if name.startswith("pwrite"):
            written |= concerned
        elif name == "fdatasync" and "= 0" in rest:
            synced |= concerned
            syncs += 1
    return confirms, syncs


def acks_in(data: bytes) -> list[tuple[int, int]]:
    """Channels and tags of the acks among the frames that a call sends."""
    found: list[tuple[int, int]] = []
    ack = method_frame(1, BasicAck(0, False))[7:11]
    at = 0
    while at + 7 <= len(data):
        channel, size = int.from_bytes(data[at + 1 : at + 3]), int.from_bytes(data[at + 3 : at + 7])
        payload = data[at + 7 : at + 7 + size]
        if data[at] == 1 and payload[:4] == ack:
            found.append((channel, int.from_bytes(payload[4:12])))
        at += size + 8
    return found
