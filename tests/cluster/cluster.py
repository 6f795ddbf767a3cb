"""The mini cluster as a user meets it: a login node, a module, and sbatch; runs on the machine that has the cluster."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]
MINICLUSTER = CHECKOUT / "minicluster" / "minicluster"
SUBMIT = CHECKOUT / "tests" / "cluster" / "submit.sh"
PROGRAMS = CHECKOUT / "tests" / "cluster" / "programs"
DIAGNOSTICS = (
    *("query_v1.py", "query_v2.py", "allreduce.py", "bandwidth.py", "pairs.py"),
)

sys.path.insert(0, str(CHECKOUT / "tools"))
from versions import image_name, jax_version  # noqa: E402  (needs the path above)

IMAGE = CHECKOUT / "build" / f"{image_name('cpu')}.sif"
MODULE = f"jax-sif/{jax_version('cpu')}-cpu"

# A job of 8 ranks takes 10 to 40 s on two cores.
_MAX_JOB_S = 300


@dataclass(frozen=True)
class Job:
    """How a job ended and what it printed; times are seconds of the epoch."""

    status: int
    output: str
    started_at: float = 0.0
    # When the last line was written, which is the verdict's.
    spoken_at: float = 0.0
    # The file of the verdict, empty where there is none.
    verdict_file: str = ""

    @property
    def verdict(self) -> str:
        """The last line that the judge wrote."""
        words = ("PASS  ", "FAIL  ", "COULD NOT TELL  ")
        lines = [x for x in self.output.splitlines() if x.startswith(words)]
        return lines[-1] if lines else ""

    @property
    def findings(self) -> list[dict[str, Any]]:
        """The findings of the verdict file, the first cause first."""
        verdicts = json.loads(self.verdict_file or '{"verdicts": []}')["verdicts"]
        return [finding for verdict in verdicts for finding in verdict["findings"]]

    @property
    def kinds(self) -> list[str]:
        """The kinds of the findings."""
        return [finding["kind"] for finding in self.findings]

    @property
    def cause(self) -> tuple[str, list[int]]:
        """Kind and ranks of the first finding; empty without any."""
        for first in self.findings:
            return first["kind"], first["ranks"]
        return "", []


@dataclass(frozen=True)
class Cluster:
    """The login node, seen by an ordinary user who has loaded the module."""

    checkout: Path = CHECKOUT
    module: str = MODULE
    image: Path = IMAGE
    # Where the ranks of a faulty job note moments.
    clock: str = ""
    # Of another cluster than the default one.
    state: Path | None = None

    def minicluster(self, verb: str, *words: object) -> list[str]:
        """A command line of the mini cluster's own program."""
        state = ["--state", str(self.state)] if self.state else []
        return [str(MINICLUSTER), verb, *state, *map(str, words)]

    def run(
        self, *command: str | Path, text_in: str = "", limit_s: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Any command on the login node."""
        return subprocess.run(
            self.minicluster("run", "--", *command),
            input=text_in,
            capture_output=True,
            encoding="utf-8",
            # What a job prints need not be text.
            errors="replace",
            timeout=limit_s,
        )

    def try_on(
        self, node: str, *command: str | Path, text_in: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """A command as root on a node."""
        return subprocess.run(
            self.minicluster("on", node, "--", *command),
            input=text_in,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def on(self, node: str, *command: str | Path, text_in: str = "") -> str:
        """A command as root on a node, which must succeed; returns its output."""
        done = self.try_on(node, *command, text_in=text_in)
        assert done.returncode == 0, done.stderr
        return done.stdout

    @contextlib.contextmanager
    def in_background(self, node: str, *command: str) -> Iterator[None]:
        """A command as root on a node, as long as the `with` block."""
        process = subprocess.Popen(self.minicluster("on", node, "--", *command))
        try:
            yield
        finally:
            process.terminate()
            process.wait(30)

    def wait_until_idle(self, limit_s: float = 60) -> None:
        """Waits until every node is fit for work again."""
        deadline_s = time.monotonic() + limit_s
        while subprocess.run(
            self.minicluster("status"), capture_output=True
        ).returncode:
            assert time.monotonic() < deadline_s, "a node did not come back"
            time.sleep(0.5)

    def bash(self, script: str, *arguments: str, limit_s: float = 120):
        """A bash script on the login node, in strict mode."""
        return self.run(
            "bash",
            "-euo",
            "pipefail",
            "-c",
            script,
            "bash",
            *arguments,
            limit_s=limit_s,
        )

    def submit(
        self,
        job: str | Path,
        *options: str,
        program: str | None = None,
        folder: Path = PROGRAMS,
        limit_s: float = _MAX_JOB_S,
        **environment: str,
    ) -> Job:
        """Loads the module, submits a job of jobs/ or any other, and waits for it.

        Args:
          program: a file of `folder` that stands, on every node, in the place of the
            image's diagnostics.
        """
        if program:
            binds = [
                f"{folder / program}:/opt/jax-sif/diag/{name}" for name in DIAGNOSTICS
            ]
            more = environment.get("APPTAINER_BIND")
            binds += [more] if more else []
            environment["APPTAINER_BIND"] = ",".join([str(CHECKOUT), *binds])
            more = environment.get("PYTHONPATH")
            environment["PYTHONPATH"] = f"{more}:{folder}" if more else str(folder)
        path = job if isinstance(job, Path) else CHECKOUT / "jobs" / f"{job}.slurm"
        name = f"{path.stem}-{uuid.uuid4().hex[:8]}"
        verdict_file = f"/home/hpc/{name}.json"
        environment.setdefault("JAX_SIF_VERDICT_FILE", verdict_file)
        variables = [f"{name}={value}" for name, value in environment.items()]
        done = self.run(
            "env",
            *variables,
            str(SUBMIT),
            MODULE,
            f"{name}.out",
            *options,
            str(path),
            limit_s=limit_s,
        )
        output, _, times = done.stdout.rpartition("submit.sh: ")
        times, _, verdict = times.partition("\n")
        started_at, spoken_at = map(float, times.split()[:2])
        output += done.stderr
        return Job(done.returncode, output, started_at, spoken_at, verdict)
