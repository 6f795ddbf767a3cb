"""How often a healthy job is taken for a faulty one: all four jobs in turn, a part of them with a busy core; on the machine with the mini cluster."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests/cluster"))
from cluster import Cluster  # noqa: E402  (needs the path above)

JOBS = ("G4N1p4", "G4N2p2", "G4N2p4", "allreduce")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--busy", type=int, default=50, help="of them with a busy core")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="jax-sif-healthy-") as folder:
        Path(folder).chmod(0o755)
        cluster = Cluster(state=Path(folder) / "state")
        subprocess.run(cluster.minicluster("up"), check=True)
        try:
            alarms = count_alarms(cluster, arguments.runs, arguments.busy)
        finally:
            subprocess.run(cluster.minicluster("down", "--purge"), check=True)
    print(
        f"{arguments.runs} healthy runs, {arguments.busy} with a busy core:"
        f" {alarms} false alarms"
    )
    return 1 if alarms else 0


def count_alarms(cluster: Cluster, runs: int, busy: int) -> int:
    """The first `busy` runs have a core for themselves no more."""
    alarms = 0
    for run in range(runs):
        name = JOBS[run % len(JOBS)]
        is_busy = run < busy
        with busy_core() if is_busy else nullcontext():
            job = cluster.submit(name)
        if job.status:
            alarms += 1
            print(f"run {run}, {name}, busy core: {is_busy}\n{job.output}", flush=True)
        elif run % 20 == 19:
            print(f"{run + 1} runs, {alarms} false alarms", flush=True)
    return alarms


@contextmanager
def busy_core() -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    sys.exit(main())
