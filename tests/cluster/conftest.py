"""The mini cluster as a user meets it: a login node, a module, and sbatch; runs on the machine that has the cluster."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
MINICLUSTER = CHECKOUT / "minicluster" / "minicluster"
SUBMIT = CHECKOUT / "tests" / "cluster" / "submit.sh"
PROGRAMS = CHECKOUT / "tests" / "cluster" / "programs"
DIAGNOSTICS = ("query_v1.py", "query_v2.py", "allreduce.py")

sys.path.insert(0, str(CHECKOUT / "tools"))
from versions import image_name, jax_version  # noqa: E402  (needs the path above)

IMAGE = CHECKOUT / "build" / f"{image_name('cpu')}.sif"
MODULE = f"jax-sif/{jax_version('cpu')}-cpu"

# A job of 8 ranks takes 10 to 40 s on two cores.
_LONGEST_JOB_S = 300


@dataclass(frozen=True)
class Job:
    """How a job ended and what it printed."""

    status: int
    output: str

    @property
    def verdict(self) -> str:
        """The last line that the judge wrote."""
        words = ("PASS  ", "FAIL  ", "COULD NOT TELL  ")
        lines = [x for x in self.output.splitlines() if x.startswith(words)]
        return lines[-1] if lines else ""


@dataclass(frozen=True)
class Cluster:
    """The login node, seen by an ordinary user who has loaded the module."""

    checkout: Path = CHECKOUT
    module: str = MODULE

    def run(
        self, *command: str, text_in: str = "", limit_s: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Any command on the login node."""
        return subprocess.run(
            [MINICLUSTER, "run", "--", *command],
            input=text_in,
            capture_output=True,
            text=True,
            timeout=limit_s,
        )

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
        limit_s: float = _LONGEST_JOB_S,
        **environment: str,
    ) -> Job:
        """Loads the module, submits a job of jobs/ or any other, and waits for it.

        Args:
          program: a file of tests/cluster/programs that stands, on every node, in the
            place of the image's diagnostics.
        """
        if program:
            binds = [
                f"{PROGRAMS / program}:/opt/jax-sif/diag/{name}" for name in DIAGNOSTICS
            ]
            environment["APPTAINER_BIND"] = ",".join([str(CHECKOUT), *binds])
            environment["PYTHONPATH"] = str(PROGRAMS)
        path = job if isinstance(job, Path) else CHECKOUT / "jobs" / f"{job}.slurm"
        variables = [f"{name}={value}" for name, value in environment.items()]
        done = self.run(
            "env",
            *variables,
            str(SUBMIT),
            MODULE,
            f"{path.stem}-{uuid.uuid4().hex[:8]}.out",
            *options,
            str(path),
            limit_s=limit_s,
        )
        return Job(done.returncode, done.stdout + done.stderr)


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """The running mini cluster with the CPU image; `make test` sets both up."""
    missing = _what_is_missing()
    if missing and os.environ.get("JAX_SIF_CLUSTER_TESTS") == "required":
        pytest.fail(missing)
    if missing:
        pytest.skip(missing)
    return Cluster()


def _what_is_missing() -> str:
    if not IMAGE.is_file():
        return f"no image {IMAGE.name}: make build-image ACCEL=cpu BASE=local"
    status = subprocess.run([MINICLUSTER, "status"], capture_output=True, text=True)
    if status.returncode:
        return f"the mini cluster is not up: {status.stdout}{status.stderr}"
    return ""
