"""Runs the tests of amqplib.test.js, each by its name and in a process of its own."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

NODE = shutil.which("node")
SCRIPT = Path(__file__).with_name("amqplib.test.js")
NAMES = re.findall(r"^test\('(.+)', ", SCRIPT.read_text(), re.MULTILINE)
DEADLINE_S = 20
AMQPLIB = Path(os.environ.get("NODE_PATH", "")) / "amqplib"

pytestmark = pytest.mark.skipif(
    NODE is None or not AMQPLIB.exists(), reason="not run: node or npm is not installed"
)


@pytest.mark.parametrize("name", NAMES)
def test_amqplib(broker, name):
    command = [NODE, "--test-reporter=tap", f"--test-name-pattern=^{name}$", SCRIPT]
    environment = os.environ | {"BROKER": broker.url}
    ran = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=DEADLINE_S
    )
    report = ran.stdout.partition(f"# Subtest: {name}\n")[2].partition("\n# Subtest: ")[0]
    assert re.match(rf"ok \d+ - {name}\n", report), report or ran.stderr
