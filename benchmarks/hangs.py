"""Counts hangs that are found, and healthy pauses that are taken for one: groups of three ranks on this machine."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = ROOT / "tests/cluster/programs/plain_hangs.py"
RESULT = ROOT / "build/hangs.json"
RANKS = 3
TOPOLOGY = f"G{RANKS}N{RANKS}p{RANKS}"

HANGS = ("loop", "sleep", "c_call", "stopped", "lock", "fifo")
PAUSES = (
    *("checkpoint", "evaluation", "compilation", "loading", "numpy_call"),
    *("in_a_process", "in_a_thread", "download", "debugger", "wait_for_file", "serve"),
)
# As the image's jax-sif.pth, in a Python that has JAX and the kit's packages.
_SITE = f"exec(open({str(ROOT / 'src/jaxsif/start/unhandled.pth')!r}).read())\n"
_IN_RANK = 'export JAX_SIF_RANK_PID="$$"; exec "$@"'

_STEPS = """
import os, threading, time
import jax
from pathlib import Path

# Of the thread that looks and of the process beside the rank.
def watching_ns():
    names = [t.native_id for t in threading.enumerate() if t.name == "jax-sif-hang"]
    tasks = [Path(f"/proc/self/task/{name}") for name in names]
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\\0")
            if b"observer" in b"".join(words[:4]) and str(os.getpid()).encode() in words:
                tasks.append(process)
        except OSError:
            pass
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)

step = jax.jit(lambda x: x @ x / 500)
x = jax.numpy.ones((500, 500))
step(x).block_until_ready()
time.sleep(3)
began_s, began_ns = time.monotonic(), watching_ns()
while time.monotonic() < began_s + 20:
    x = step(x)
    float(x[0, 0])
print((watching_ns() - began_ns) / 1e9 / (time.monotonic() - began_s))
"""


@dataclass(frozen=True)
class Run:
    """What became of one group.

    Attributes:
      name: how its last rank hung or paused.
      kinds: of the findings.
      ranks: that the first finding names.
      found_s: from the hang to the end of the step; None: it ended by itself.
      is_healthy_end: whether all ranks printed their last line.
    """

    name: str
    kinds: tuple[str, ...]
    ranks: tuple[int, ...]
    found_s: float
    is_healthy_end: bool


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("name", nargs="*", help=f"default: {' '.join(HANGS + PAUSES)}")
    parser.add_argument("--python", default=sys.executable, help="one that has JAX")
    parser.add_argument("--hang-s", type=float, default=20, help="JAX_SIF_HANG_S")
    parser.add_argument(
        "--pause-limit-s", type=float, default=5, help="in healthy runs"
    )
    parser.add_argument("--pause-s", type=float, default=15)
    parser.add_argument("--runs", type=int, default=60, help="healthy ones")
    parser.add_argument("--at-once", type=int, default=2)
    parser.add_argument("--overhead", type=int, metavar="RUNS", help="only that")
    parser.add_argument("--launch", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.launch:
        return launch(chosen.python, chosen.launch)
    if chosen.overhead:
        print(overhead(chosen.python, chosen.overhead))
        return 0
    names = chosen.name or [*HANGS, *PAUSES]
    healthy = [name for name in names if name in PAUSES]
    planned = [name for name in names if name in HANGS]
    if healthy:
        planned += itertools.islice(itertools.cycle(healthy), chosen.runs)
    with ThreadPoolExecutor(chosen.at_once) as pool:
        runs = list(pool.map(lambda name: printed(run(chosen, name)), planned))
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps([vars(r) for r in runs], indent=1) + "\n")
    print("\n".join(summary(runs)))
    return 0 if all(map(is_right, runs)) else 1


def run(chosen: argparse.Namespace, name: str) -> Run:
    """Start a group below `jax-sif verify`, as a job's script does."""
    is_hang = name in HANGS
    with tempfile.TemporaryDirectory(prefix="jax-sif-hangs-") as folder:
        (Path(folder) / "sitecustomize.py").write_text(_SITE)
        environment = os.environ | {
            "HANG" if is_hang else "PAUSE": name,
            "PAUSE_S": str(chosen.pause_s),
            "JAX_SIF_HANG_S": str(chosen.hang_s if is_hang else chosen.pause_limit_s),
            "JAX_SIF_TOPOLOGY": TOPOLOGY,
            "JAX_PLATFORMS": "cpu",
            "PYTHONPATH": f"{ROOT / 'src'}:{folder}",
            "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{free_port()}",
        }
        command = [sys.executable, __file__, f"--python={chosen.python}", "--launch"]
        launcher = subprocess.Popen(
            [*command, name],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        file = Path(folder) / "verdict.json"
        judge = [sys.executable, "-m", "jaxsif", "verify", "--user-program"]
        done = subprocess.run(
            [*judge, "--topology", TOPOLOGY, "--verdict-file", file],
            env=environment | {"JAX_SIF_SRUN_PID": str(launcher.pid)},
            stdin=launcher.stdout,
            capture_output=True,
            text=True,
        )
        ended_s = time.time()
        launcher.wait()
        if not file.exists():
            raise RuntimeError(f"no verdict: {done.stdout}{done.stderr}")
        findings = json.loads(file.read_text())["verdicts"][0]["findings"]
        kinds = tuple(f["kind"] for f in findings)
        began = [x.split()[-1] for x in done.stdout.splitlines() if "odd from" in x]
        result = Run(
            name,
            kinds,
            tuple(findings[0]["ranks"]) if findings else (),
            round(ended_s - float(began[-1]), 1) if began else 0.0,
            done.stdout.count("ended well") == RANKS,
        )
        if not is_right(result):
            print(done.stdout, done.stderr, sep="\n", flush=True)
        return result


def launch(python: str, name: str) -> int:
    """In the place of srun: start the ranks, and end them at SIGTERM."""
    ranks = [
        subprocess.Popen(
            ["sh", "-c", _IN_RANK, "sh", python, PROGRAM],
            env=os.environ
            | {
                "SLURM_JOB_ID": str(os.getpid()),
                "SLURM_STEP_ID": "0",
                "SLURM_STEP_NODELIST": "node[1-3]",
                "SLURM_NTASKS": str(RANKS),
                "SLURM_STEP_NUM_TASKS": str(RANKS),
                "SLURM_PROCID": str(rank),
                "SLURM_LOCALID": "0",
                "SLURMD_NODENAME": f"node{rank + 1}",
            },
        )
        for rank in range(RANKS)
    ]

    def end(*_: object) -> None:
        for process in ranks:
            with contextlib.suppress(ProcessLookupError):
                process.kill()

    signal.signal(signal.SIGTERM, end)
    return max(abs(process.wait()) for process in ranks)


def overhead(python: str, runs: int) -> str:
    """Processor time of the watch as a share of one core, while a rank computes.

    Not the time of a step with and without: on a shared machine that differs by far more.
    """
    shares = sorted(watch_share(python) for _ in range(runs))
    return (
        f"share of one core: {shares[runs // 2]:.2%}, from {shares[0]:.2%} to"
        f" {shares[-1]:.2%} in {runs} runs of 20 s"
    )


def watch_share(python: str) -> float:
    """In one rank, without its start."""
    with tempfile.TemporaryDirectory(prefix="jax-sif-hangs-") as folder:
        (Path(folder) / "sitecustomize.py").write_text(_SITE)
        done = subprocess.run(
            ["sh", "-c", _IN_RANK, "sh", python, "-c", _STEPS],
            env=os.environ
            | {
                "JAX_SIF_HANG_S": "600",
                "JAX_SIF_TOPOLOGY": "G1N1p1",
                "JAX_PLATFORMS": "cpu",
                "PYTHONPATH": f"{ROOT / 'src'}:{folder}",
            },
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    return float(done.stdout)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def is_right(run: Run) -> bool:
    """A hang is found with its rank; a pause is none, and harms nothing."""
    if run.name in HANGS:
        return run.kinds[:1] == ("hang",) and run.ranks == (RANKS - 1,)
    return "hang" not in run.kinds and run.is_healthy_end


def printed(run: Run) -> Run:
    sign = "right" if is_right(run) else "WRONG"
    text = f"{run.name}: {sign}, {run.kinds} {run.ranks} after {run.found_s} s"
    print(text, flush=True)
    return run


def summary(runs: list[Run]) -> list[str]:
    hangs = [r for r in runs if r.name in HANGS]
    pauses = [r for r in runs if r.name not in HANGS]
    wrong = [r.name for r in pauses if not is_right(r)]
    warned = Counter(r.name for r in pauses if "standstill" in r.kinds)
    lines = [
        f"hangs found with their rank: {sum(map(is_right, hangs))} of {len(hangs)}"
    ]
    if hangs:
        lines[0] += f", the last after {max(r.found_s for r in hangs)} s"
    return [
        *lines,
        f"healthy pauses taken for a hang: {len(wrong)} of {len(pauses)} {wrong}",
        f"with a warning: {dict(warned)}",
    ]


if __name__ == "__main__":
    sys.exit(main())
