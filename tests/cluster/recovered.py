"""examples/train.py as a job that starts itself again, and the faults that end an attempt; runs on the machine that has the cluster."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

from training import Training

# In seconds: two starts on two busy cores, and what Slurm takes to give a node up.
_MAX_S = 240
# What jax-sif verify prints when all ranks run.
_STARTED = " ranks started"


@dataclass
class RecoveredTraining(Training):
    """One job, whose program may be started many times."""

    options: tuple[str, ...] = ("--spare-nodes=2", "--max-restarts=10")
    limit_s: float = _MAX_S

    def wait(self, is_so) -> None:
        """Looks until something is so; the job is not given to Slurm again."""
        deadline_s = time.monotonic() + self.limit_s
        while not is_so():
            assert time.monotonic() < deadline_s, self.output
            time.sleep(0.2)
            self.look()
            assert self.state != "gone" or is_so(), self.output

    def wait_until_gone(self) -> None:
        """Waits for the job's end, however it ends."""
        self.wait(lambda: self.state == "gone")

    def wait_for_steps(self, more: int) -> None:
        """Waits until the present attempt has done so many more steps."""
        begun = self.runs
        self.wait(lambda: self.runs > begun or len(self._present) > more)

    @property
    def _present(self) -> list[str]:
        """The lines of steps of the last attempt."""
        last = self.output.rpartition(" steps done before")[2]
        return [line for line in last.splitlines() if line.startswith("step ")]

    first_line_s: float = 0.0

    def look(self) -> None:
        """Reads the state and the output, and notes when an attempt first prints."""
        before = self.output.count(_STARTED)
        super().look()
        if self.output.count(_STARTED) > before:
            self.first_line_s = time.time()

    @property
    def is_training(self) -> bool:
        """Whether the present attempt has done a step."""
        return bool(self._present)

    @property
    def history(self) -> dict[str, Any]:
        """The file of attempts."""
        done = self.cluster.bash('cd; cat *-"$1".attempts.json', self.job)
        assert done.returncode == 0, done.stderr + self.output
        return json.loads(done.stdout)

    @property
    def nodes(self) -> list[str]:
        """Of the attempt that runs now, by where its ranks are."""
        return [
            node
            for node in ("node1", "node2", "node3", "node4")
            if self._ranks_on(node, check=False)
        ]

    def _ranks_on(self, node: str, *, check: bool = True) -> list[str]:
        find = ["pgrep", "-f", f"^python .*{self.folder}"]
        found = self.cluster.try_on(node, *find).stdout.split()
        assert found or not check, f"no rank on {node}"
        return found

    def signal_rank(self, node: str, signal: str) -> None:
        """One rank on a node gets a signal."""
        self.cluster.on(node, "kill", f"-{signal}", self._ranks_on(node)[-1])

    def clean(self) -> None:
        """Removes what it wrote, and waits until the nodes are fit again."""
        super().clean()
        self.cluster.bash('cd; rm -f *-"$1".attempts.json', self.job)


def kill_node(cluster, node: str) -> None:
    """Slurm and all ranks of a node are gone at once."""
    kill = "pkill -KILL slurmd; pkill -KILL slurmstepd; pkill -KILL -u hpc; true"
    cluster.on(node, "sh", "-c", kill)


def cut_node(cluster, node: str) -> None:
    """The node's network is gone."""
    cluster.on(node, "ip", "link", "set", "eth0", "down")


def heal_node(cluster, node: str) -> None:
    """What kill_node and cut_node did is mended."""
    cluster.on(node, "ip", "link", "set", "eth0", "up")
    if cluster.try_on(node, "pgrep", "slurmd").returncode:
        cluster.try_on(node, "slurmd", "-N", node)
    cluster.try_on(node, "pkill", "-KILL", "-u", "hpc")
    for state in ("down", "resume"):
        update = ("scontrol", "update", f"node={node}", f"state={state}")
        cluster.try_on("login", *update, "reason=it was broken by a test")
