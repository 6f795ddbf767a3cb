"""Times the start of 8 processes by `jax-sif launch` and by a shell loop."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROCESSES = 8
PROGRAM = ["python", "-c", "import jax"]
# The usual shell loop without a launcher.
LOOP = 'i=0; while [ "$i" -lt "$1" ]; do "$2" "$3" "$4" & i=$((i + 1)); done; wait'
WAYS = {
    "plain": ["sh", "-c", LOOP, "sh", str(PROCESSES), *PROGRAM],
    "launch": [
        *(sys.executable, "-m", "jaxsif", "launch", "--devices", "cpu"),
        *(f"G{PROCESSES}N2p{PROCESSES}", "--", *PROGRAM),
    ],
}
MOST_RATIO = 1.1


def main() -> int:
    """Prints the ratio, and with --json every trial."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=9)
    parser.add_argument("--json", action="store_true", help="for programs")
    arguments = parser.parse_args()
    result = measure(arguments.trials)
    print(json.dumps(result) if arguments.json else table(result))
    return 0


def measure(trials: int) -> dict:
    """Seconds of each trial and the processor's, both with all their processes.

    In turn, so that a machine that slows down slows both down.
    """
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    cpu_seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for trial in range(trials + 1):
        for way, command in WAYS.items():
            began_s, began_cpu_s = time.perf_counter(), children_cpu_s()
            run(command)
            # The first round fills caches and does not count.
            if trial:
                seconds[way].append(round(time.perf_counter() - began_s, 4))
                cpu_seconds[way].append(round(children_cpu_s() - began_cpu_s, 4))
    medians = {way: statistics.median(values) for way, values in seconds.items()}
    cpu = {way: statistics.median(values) for way, values in cpu_seconds.items()}
    return {
        "seconds": seconds,
        "medians": medians,
        "ratio": round(medians["launch"] / medians["plain"], 3),
        "cpu_seconds": cpu_seconds,
        "cpu_ratio": round(cpu["launch"] / cpu["plain"], 3),
    }


def children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run(command: list[str]) -> None:
    source = f"{ROOT / 'src'}:{os.environ.get('PYTHONPATH', '')}"
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": source}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{command} ended with {done.returncode}:\n{done.stderr}")


def table(result: dict) -> str:
    medians = result["medians"]
    return (
        f"start of {PROCESSES} processes, launch / plain: {result['ratio']:.2f}"
        f" ({medians['launch']:.2f} s / {medians['plain']:.2f} s), to reach"
        f" <= {MOST_RATIO:.2f}; processor time {result['cpu_ratio']:.2f}"
    )


if __name__ == "__main__":
    sys.exit(main())
