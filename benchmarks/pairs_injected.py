"""Injects slow and late nodes and links into four nodes: how often they are found."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests" / "cluster")]

from cluster import PROGRAMS, Cluster, Job  # noqa: E402  (needs the path above)
from slow_network import (  # noqa: E402  (needs the path above)
    NODES,
    make_even,
    make_link_late,
    make_link_slow,
    make_node_late,
    make_node_slow,
)

from jaxsif.core.record_lines import MARKER  # noqa: E402  (needs the path above)

BYTES = 512 << 10
SPEEDS = (0.2, 0.6)
# Each way; without it a small message takes 0.1 to 0.2 ms.
DELAYS_MS = (2.0, 10.0)
LATE = "late-"
KINDS = ("node", "link", f"{LATE}node", f"{LATE}link")
# On the login node: start a search, and come back when it is done.
ONE_SEARCH = """
touch "$1/go-$2"
for ((i = 0; i < 1200; i++)); do
  if [[ -e $1/done-$2 ]]; then exit 0; fi
  sleep 0.1
done
exit 1
"""


@dataclass(frozen=True)
class Trial:
    """The slow or late nodes by name; none in a healthy trial."""

    kind: str
    who: tuple[str, ...] = ()
    speed: float = 1.0
    delay_ms: float = 0.0


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--trials", type=int, default=50, help="healthy ones, and as many with a fault"
    )
    parser.add_argument(
        "--kinds", nargs="+", choices=KINDS, default=KINDS, help="of fault, in turn"
    )
    parser.add_argument("--seed", type=int, default=1, help="for nodes and speeds")
    parser.add_argument("--limit-s", type=float, default=1200, help="no trial after it")
    parser.add_argument("--keep", type=Path, help="a file for the job's whole output")
    chosen = parser.parse_args(arguments)
    trials = plan(chosen.trials, chosen.seed, chosen.kinds)
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        cluster = Cluster(state=Path(folder) / "state")
        up = ("--nodes", str(len(NODES)), "--gpus-per-node", "1")
        subprocess.run(cluster.minicluster("up", *up), check=True)
        try:
            job, count = run(cluster, trials, began_s + chosen.limit_s)
        finally:
            subprocess.run(cluster.minicluster("down", "--purge"), check=True)
    if chosen.keep:
        chosen.keep.write_text(job.output)
    result = compare(trials[:count], verdicts(job.output))
    result["wall_s"] = round(time.monotonic() - began_s)
    print(json.dumps(result, indent=1))
    return 0 if not result["wrong"] else 1


def plan(count: int, seed: int, kinds: Sequence[str]) -> list[Trial]:
    """`count` healthy trials and as many with one bad node or link, in turn."""
    dice = random.Random(seed)
    links = list(combinations(NODES, 2))
    trials = []
    for number in range(count):
        part = dice.random()
        kind = kinds[number % len(kinds)]
        who = dice.choice(links) if "link" in kind else (dice.choice(NODES),)
        trials.append(Trial("healthy"))
        if kind.startswith(LATE):
            trials.append(Trial(kind, who, delay_ms=round(between(DELAYS_MS, part), 1)))
        else:
            trials.append(Trial(kind, who, speed=round(between(SPEEDS, part), 2)))
    return trials


def between(ends: tuple[float, float], part: float) -> float:
    return ends[0] + (ends[1] - ends[0]) * part


def run(cluster: Cluster, trials: Sequence[Trial], until_s: float) -> tuple[Job, int]:
    """All trials in one step; between two of them the network changes. Returns how many
    there were as well."""
    folder = "/home/hpc/pairs"
    cluster.run("mkdir", "-p", folder)
    jobs: list[Job] = []
    environment = {
        "PAIRS_FOLDER": folder,
        "PAIRS_BYTES": str(BYTES),
        "PAIRS_SEARCHES": str(len(trials)),
        "PROGRAM": str(PROGRAMS / "pair_searches.py"),
        "APPTAINER_BIND": str(ROOT),
    }
    script = ROOT / "tests" / "cluster" / "pair_searches.slurm"
    step = threading.Thread(
        target=lambda: jobs.append(cluster.submit(script, limit_s=1800, **environment))
    )
    make_even(cluster)
    step.start()
    count = 0
    for number, trial in enumerate(trials):
        if time.monotonic() > until_s:
            cluster.run("scancel", "--user=hpc")
            break
        count += 1
        inject(cluster, trial)
        done = cluster.bash(ONE_SEARCH, folder, str(number), limit_s=150)
        if trial.who:
            make_even(cluster)
        print(f"{number + 1} of {len(trials)}: {trial}", file=sys.stderr, flush=True)
        is_over = not step.is_alive() and number + 1 < len(trials)
        if done.returncode or is_over:
            cluster.run("scancel", "--user=hpc")
            break
    step.join()
    return jobs[0], count


def inject(cluster: Cluster, trial: Trial) -> None:
    if trial.kind == "node":
        make_node_slow(cluster, trial.who[0], trial.speed)
    elif trial.kind == "link":
        make_link_slow(cluster, (trial.who[0], trial.who[1]), trial.speed)
    elif trial.kind == "late-node":
        make_node_late(cluster, trial.who[0], trial.delay_ms)
    elif trial.kind == "late-link":
        make_link_late(cluster, (trial.who[0], trial.who[1]), trial.delay_ms)


def verdicts(output: str) -> dict[int, dict]:
    """The verdict on each search, which jax-sif verify sees as a step."""
    with tempfile.TemporaryDirectory() as folder:
        log, result = Path(folder) / "log", Path(folder) / "verdict.json"
        # Without Slurm's lines about the cancellation at this program's limit.
        lines = output.splitlines(keepends=True)
        log.write_text("".join(line for line in lines if MARKER in line))
        command = [
            sys.executable,
            "-m",
            "jaxsif",
            "verify",
            "--verdict-file",
            result,
            log,
        ]
        subprocess.run(
            [*command, "--topology", "G4N4p4"],
            env={"PYTHONPATH": str(ROOT / "src")},
            stdout=subprocess.DEVNULL,
        )
        steps = json.loads(result.read_text())["verdicts"]
    # minicluster.7.0-12
    numbered = [s for s in steps if "-" in s["step"].rpartition(".")[2]]
    return {int(s["step"].rpartition("-")[2]): s for s in numbered}


def compare(trials: Sequence[Trial], judged: dict[int, dict]) -> dict:
    """How often exactly the injected fault was named, and nothing else."""
    right: Counter[str] = Counter()
    asked: Counter[str] = Counter()
    wrong = []
    for number, trial in enumerate(trials):
        asked[trial.kind] += 1
        findings = judged.get(number, {}).get("findings")
        named = findings if findings is None else [_named(f) for f in findings]
        expected = [] if trial.kind == "healthy" else [_expected(trial)]
        if named == expected:
            right[trial.kind] += 1
        else:
            wrong.append({"trial": number, "what": str(trial), "got": findings})
    return {
        "right": {kind: f"{right[kind]} of {asked[kind]}" for kind in asked},
        "wrong": wrong,
    }


def _named(finding: dict) -> tuple[str, str]:
    return finding["kind"], finding["text"].partition(":")[0]


def _expected(trial: Trial) -> tuple[str, str]:
    return f"{trial.kind.removeprefix(LATE)}-slow", " and ".join(trial.who)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
