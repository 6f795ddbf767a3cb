"""Injects random faults into examples/train.py, which starts itself again, and compares with an undisturbed run."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests/cluster"), str(ROOT / "tools")]
from cluster import Cluster  # noqa: E402  (needs the path above)
from packages import packages  # noqa: E402  (needs the path above)
from recovered import RecoveredTraining, cut_node, heal_node, kill_node  # noqa: E402  (needs the path above)

SIZE = ("--batch", "64", "--width", "64", "--print-every", "1", "--save-every", "10")
# JAX's heartbeats notice a lost network and a stopped rank.
HEARTBEAT = "--env=JAX_SIF_HEARTBEAT_S=10"
# A node that Slurm has given up does not come back into the allocation.
MAX_LOST_NODES = 2


@dataclass(frozen=True)
class Recovery:
    """One fault, in seconds: to the verdict, from there to the program's first record,
    and from the fault to the next step."""

    fault: str
    detect_s: float
    restart_s: float
    step_s: float


def rank_killed(training: RecoveredTraining, node: str) -> None:
    training.signal_rank(node, "KILL")


def rank_stopped(training: RecoveredTraining, node: str) -> None:
    training.signal_rank(node, "STOP")


def node_killed(training: RecoveredTraining, node: str) -> None:
    kill_node(training.cluster, node)


def network_cut(training: RecoveredTraining, node: str) -> None:
    cut_node(training.cluster, node)


Fault = Callable[[RecoveredTraining, str], None]
RANKS: list[Fault] = [rank_killed, rank_killed, rank_stopped]
NODES: list[Fault] = [node_killed, network_cut]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faults", type=int, default=20)
    parser.add_argument("--steps", type=int, default=2000, help="of a training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--time", type=float, default=3000, help="seconds, at most")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="jax-sif-recovery-") as folder:
        Path(folder).chmod(0o755)
        cluster = Cluster(state=Path(folder) / "state")
        subprocess.run(cluster.minicluster("up", "--nodes", "4"), check=True)
        try:
            return compare(cluster, chosen)
        finally:
            subprocess.run(cluster.minicluster("down", "--purge"), check=True)


def compare(cluster: Cluster, chosen: argparse.Namespace) -> int:
    """Print each recovery and the table; return 1 if any result differs."""
    env = packages(cluster)
    arguments = ("--steps", str(chosen.steps), *SIZE)
    calm = RecoveredTraining(cluster, env, "G4N2p4", arguments, limit_s=chosen.time)
    calm.submit()
    calm.wait_until_gone()
    print(f"undisturbed: parameters {calm.parameters}", flush=True)
    chance, until_s = random.Random(chosen.seed), time.monotonic() + chosen.time
    found: list[Recovery] = []
    is_same = True
    while len(found) < chosen.faults and time.monotonic() < until_s:
        options = ("--spare-nodes=2", "--max-restarts=100", HEARTBEAT)
        training = RecoveredTraining(cluster, env, "G4N2p4", arguments, options)
        found += disturb(training, chosen.faults - len(found), chance, until_s)
        training.limit_s = chosen.time
        training.wait_until_gone()
        history = training.history
        same = calm.parameters == training.parameters
        is_same &= same
        print(
            f"{len(history['attempts'])} attempts, goodput {history['goodput']:.0%},"
            f" parameters {training.parameters}{'' if same else ', WHICH DIFFER'}",
            flush=True,
        )
        for node in ("node2", "node3", "node4"):
            heal_node(cluster, node)
        training.clean()
        cluster.wait_until_idle()
    print(table(found))
    return 0 if is_same and len(found) == chosen.faults else 1


def disturb(
    training: RecoveredTraining, faults: int, chance: random.Random, until_s: float
) -> list[Recovery]:
    """Faults at random moments, until the training has ended."""
    training.submit()
    found: list[Recovery] = []
    lost = 0
    while len(found) < faults and time.monotonic() < until_s:
        training.wait(lambda: training.is_training or bool(training.parameters))
        begun = training.runs
        goal = len(training.losses) + chance.randrange(5, 60)
        training.wait(
            lambda goal=goal: len(training.losses) >= goal or bool(training.parameters)
        )
        if training.parameters:
            break
        is_node = lost < MAX_LOST_NODES and chance.random() < 0.3
        fault = chance.choice(NODES if is_node else RANKS)
        # The first node runs the job's script.
        nodes = [n for n in training.nodes if n != "node1" or not is_node]
        lost += is_node
        at_s = time.time()
        fault(training, chance.choice(nodes))
        training.wait(lambda begun=begun: training.runs > begun)
        training.wait(lambda: training.is_training or bool(training.parameters))
        step_s = time.time() - at_s
        found.append(_recovery(fault.__name__, training, at_s, step_s))
        print(f"{len(found)}. {found[-1]}", flush=True)
    return found


def _recovery(
    name: str, training: RecoveredTraining, at_s: float, step_s: float
) -> Recovery:
    """From the history; the attempt that runs now is not in it yet."""
    ended_s = training.history["attempts"][-1]["ended"]
    return Recovery(name, ended_s - at_s, training.first_line_s - ended_s, step_s)


def table(found: list[Recovery]) -> str:
    """Median and longest by fault, for docs/long-runs.md."""
    rows = [
        "| Fault | times | fault to verdict | verdict to first line | fault to next"
        " step |",
        "|---|---|---|---|---|",
    ]
    for name in sorted({recovery.fault for recovery in found}):
        of = [recovery for recovery in found if recovery.fault == name]
        columns = [
            f"{median(values):.1f} s, at most {max(values):.1f} s"
            for values in (
                [recovery.detect_s for recovery in of],
                [recovery.restart_s for recovery in of],
                [recovery.step_s for recovery in of],
            )
        ]
        name = name.replace("_", " ")
        rows.append(f"| {name} | {len(of)} | {' | '.join(columns)} |")
    return "\n".join(rows)


if __name__ == "__main__":
    sys.exit(main())
