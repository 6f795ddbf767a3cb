"""examples/train.py as a job that is disturbed in every way that jobs are, until it has ended well; runs on the machine that has the cluster."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import random
import re
import time
import uuid
from dataclasses import dataclass, field

from cluster import Cluster

# What disturbs a job, by the command on the login node that does it: a preemption,
# the word that the time is nearly up, and the death of all ranks, or of one.
DISTURBANCES = {
    "preempted": 'scontrol requeue "$job"',
    "notified": 'scancel --signal=URG "$job"',
    "killed": 'scancel --signal=KILL "$job"',
    "rank killed": "",
}

SUBMIT = """cd; module use "$1/modulefiles"; module load "$2"
export APPTAINER_BIND="$1"; env=$3 output=$4; shift 4
jax-sif job --packages "$env" --output="$output" --requeue --time=00:30:00 "$@" |
  sbatch --parsable
"""
# Slurm would let a job that is requeued wait two minutes.
LOOK = """cd; job=$1
state=$(squeue --noheader --jobs="$job" --format=%T 2>/dev/null) || :
if [ "$state" = PENDING ]; then scontrol update "job=$job" StartTime=now || :; fi
echo "${state:-gone}"; cat "$2" 2>/dev/null || :
"""
_MAX_S = 150
# On two cores a start takes so long.
_STARTS_S = 12.0


@dataclass
class Training:
    """One training, however many jobs and runs of a job it takes."""

    cluster: Cluster
    packages: str
    topology: str
    arguments: tuple[str, ...]
    # Of jax-sif job.
    options: tuple[str, ...] = ()
    folder: str = field(default_factory=lambda: f"training-{uuid.uuid4().hex[:8]}")
    job: str = ""
    state: str = ""
    output: str = ""

    def submit(self) -> None:
        """Gives the job to Slurm; the output goes on where it ended."""
        done = self.cluster.bash(
            SUBMIT,
            *(str(self.cluster.checkout), self.cluster.module, self.packages),
            *(f"{self.folder}.out", *self.options, self.topology),
            *(str(self.cluster.checkout / "examples/train.py"),),
            *("--checkpoints", self.folder, *self.arguments),
        )
        assert done.returncode == 0, done.stderr
        self.job = done.stdout.strip()
        self.look()

    def look(self) -> None:
        """Reads the state and the output."""
        done = self.cluster.bash(LOOK, self.job, f"{self.folder}.out")
        assert done.returncode == 0, done.stderr
        self.state, _, self.output = done.stdout.partition("\n")

    @property
    def runs(self) -> int:
        """How often the program has begun to train."""
        return self.output.count(" steps done before")

    @property
    def losses(self) -> dict[int, str]:
        """By step. A step that was done again must have the same loss, to the digit."""
        found: dict[int, str] = {}
        for number, loss in re.findall(r"step (\d+): loss (\S+)", self.output):
            assert found.setdefault(int(number), loss) == loss, f"step {number}"
        return found

    @property
    def parameters(self) -> str:
        """The fingerprint of the result; empty before the end."""
        found = re.findall(r"^parameters (\w+)$", self.output, re.M)
        return found[-1] if found else ""

    def finish(self) -> None:
        """Waits for the end, as often as it is started again."""
        self.wait(lambda: bool(self.parameters) and self.state == "gone")

    def wait(self, is_so) -> None:
        """Looks until something is so; a job that has ended early is given again."""
        deadline_s = time.monotonic() + _MAX_S
        while not is_so():
            assert time.monotonic() < deadline_s, self.output
            time.sleep(0.3)
            self.look()
            if self.state == "gone" and not self.parameters:
                self.submit()

    def disturb(self, how: str, chance: random.Random) -> None:
        """At a random moment: while it starts, learns, or writes a checkpoint."""
        self.wait(lambda: self.state == "RUNNING")
        if chance.random() < 0.2:
            time.sleep(chance.uniform(0, _STARTS_S))
        else:
            goal = len(self.losses) + chance.randrange(30)
            self.wait(lambda: len(self.losses) >= goal or bool(self.parameters))
            time.sleep(chance.uniform(0, 0.5))
        self.strike(how, chance)

    def strike(self, how: str, chance: random.Random) -> None:
        """At once."""
        if how == "rank killed":
            self._kill_a_rank(chance)
        else:
            self.cluster.bash(f"job={self.job}; {DISTURBANCES[how]} || :")

    def _kill_a_rank(self, chance: random.Random) -> None:
        """A process of the program, on any node, by the kernel."""
        node = chance.choice(("node1", "node2"))
        find = ["pgrep", "-f", f"^python .*{self.folder}"]
        ranks = self.cluster.try_on(node, *find).stdout.split()
        if ranks:
            self.cluster.try_on(node, "kill", "-KILL", chance.choice(ranks))

    def begin_with(self, other: Training, steps: int) -> None:
        """Goes on from a checkpoint of another training."""
        done = self.cluster.bash(
            'cd; mkdir "$2"; cp -r "$1/$3" "$2"', other.folder, self.folder, str(steps)
        )
        assert done.returncode == 0, done.stderr

    def clean(self) -> None:
        """Removes what it wrote."""
        self.cluster.bash(
            'cd; scancel "$1" || :; rm -rf "$2" "$2.out"', self.job, self.folder
        )
