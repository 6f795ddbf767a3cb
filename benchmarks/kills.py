"""Disturbs examples/train.py at random moments, and compares with an undisturbed run."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests/cluster"), str(ROOT / "tools")]
from cluster import Cluster  # noqa: E402  (needs the path above)
from packages import packages  # noqa: E402  (needs the path above)
from training import DISTURBANCES, Training  # noqa: E402  (needs the path above)

SIZE = ("--batch", "64", "--width", "64", "--print-every", "1", "--save-every", "5")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="jax-sif-kills-") as folder:
        Path(folder).chmod(0o755)
        cluster = Cluster(state=Path(folder) / "state")
        subprocess.run(cluster.minicluster("up"), check=True)
        try:
            return compare(cluster, chosen)
        finally:
            subprocess.run(cluster.minicluster("down", "--purge"), check=True)


def compare(cluster: Cluster, chosen: argparse.Namespace) -> int:
    """Print the disturbances and results; return 1 if anything differs."""
    env = packages(cluster)
    arguments = ("--steps", str(chosen.steps), *SIZE)
    calm = Training(cluster, env, "G4N2p4", arguments)
    calm.submit()
    calm.finish()
    print(f"undisturbed: parameters {calm.parameters}", flush=True)

    disturbed = Training(cluster, env, "G4N2p4", arguments)
    done = disturb(disturbed, chosen.kills, random.Random(chosen.seed))
    disturbed.finish()
    print(f"{done} kills, {disturbed.runs} runs: parameters {disturbed.parameters}")
    is_same = (calm.losses, calm.parameters) == (disturbed.losses, disturbed.parameters)
    print("every loss and every parameter is the same" if is_same else "THEY DIFFER")
    return 0 if is_same and done == chosen.kills else 1


def disturb(training: Training, kills: int, chance: random.Random) -> int:
    """The requested number of times, unless it has ended before."""
    training.submit()
    for done in range(kills):
        if training.parameters:
            return done
        how = chance.choice(list(DISTURBANCES))
        training.disturb(how, chance)
        print(f"{done + 1}. {how}, at step {len(training.losses)}", flush=True)
    return kills


if __name__ == "__main__":
    sys.exit(main())
