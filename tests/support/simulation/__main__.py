"""`python -m simulation --seeds 1000` plays the stories of many seeds, `--seed 7` that of one."""

import argparse
import sys
import time

from .shrink import report

_PROGRESS_S = 10.0


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="simulation")
    parser.add_argument("--seeds", type=int, default=1000, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--seed", type=int, help="play only this one")
    chosen = parser.parse_args(arguments)
    seeds = range(chosen.first, chosen.first + chosen.seeds)
    if chosen.seed is not None:
        seeds = range(chosen.seed, chosen.seed + 1)
    said = started = time.monotonic()
    for seed in seeds:
        if (problem := report(seed)) is not None:
            print(problem)
            return 1
        if time.monotonic() - said > _PROGRESS_S:
            said = time.monotonic()
            print(f"{seed - seeds[0] + 1} of {len(seeds)}", file=sys.stderr)
    print(f"{len(seeds)} stories in {time.monotonic() - started:.1f} s, all as they should be")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
