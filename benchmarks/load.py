"""Runs one workload against a broker that is already there; prints one JSON object."""

import argparse
import dataclasses
import gc
import json
import sys

from client import Address, BrokerError
from measure import Processes
from target import Target
from workloads import WORKLOADS


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workload", choices=WORKLOADS, metavar="WORKLOAD", help="see run.py --list")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=5672)
    parser.add_argument("--user", default="guest")
    parser.add_argument("--password", default="guest")
    parser.add_argument("--vhost", default="/")
    parser.add_argument(
        "--pid",
        type=int,
        action="append",
        default=[],
        help="the broker's process, for its processor time and memory; may be given several times",
    )
    parser.add_argument("--warmup", type=float, default=0.5, metavar="SECONDS")
    parser.add_argument("--seconds", type=float, default=2.0, help="how long to measure")
    options = parser.parse_args()
    address = Address(options.host, options.port, options.user, options.password, options.vhost)
    target = Target(address, Processes(options.pid), options.warmup, options.seconds)
    gc.disable()
    try:
        result = WORKLOADS[options.workload].run(target)
    except (BrokerError, OSError, ValueError) as error:
        print(f"{options.workload}: {error}", file=sys.stderr)
        return 1
    result.workload = options.workload
    print(json.dumps(dataclasses.asdict(result)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
