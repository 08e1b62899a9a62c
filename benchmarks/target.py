"""What a workload is run against, and for how long."""

from dataclasses import dataclass

from client import Address
from measure import Processes


@dataclass(frozen=True, slots=True)
class Target:
    address: Address
    processes: Processes
    warmup_s: float
    seconds: float
