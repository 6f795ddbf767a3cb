"""Scripts for batch systems other than Slurm are named, and not judged."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest

from jaxsif import cli
from jaxsif.lint.frameworks import batch_system_of
from jaxsif.lint.lint import lint_text

STEP = "mpiexec -n 8 python train_jax.py\necho done\n"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("#!/bin/bash\n#PBS -l select=2\n", "PBS"),
        ("#!/bin/bash\n#BSUB -nnodes 2\n", "LSF"),
        ("#!/bin/bash\n#$ -cwd\n#$ -l gpu=1\n", "Grid Engine"),
        ("#!/bin/bash\n# flux: -N 2\n", "Flux"),
        ("#!/bin/bash\n#flux: --nodes=2\n", "Flux"),
        ("universe = docker\nexecutable = train.sh\nqueue 1\n", "HTCondor"),
        ("#!/bin/bash\n#COBALT -n 2\n", "Cobalt"),
        ("#!/bin/bash\n#PJM -L node=2\n", "Fujitsu's batch system"),
        ("#!/bin/bash\n#OAR -l gpu=1\n", "OAR"),
    ],
)
def test_other_batch_system_is_named_and_nothing_else_said(text, name):
    found = batch_system_of(text.split("\n"))

    assert found is not None
    assert name == found[0]
    assert ["batch-system"] == [f.rule.id for f in lint_text(text + STEP)]


@pytest.mark.parametrize(
    "head",
    [
        "#!/bin/bash\n#SBATCH -n 1\n#PBS -l select=2\n",
        "#!/bin/bash\nqueue=debug\n",
        "#!/bin/bash\nexecutable=train.py\n",
        "#!/bin/bash\n#$ is no directive\n",
    ],
)
def test_script_for_slurm_is_checked(head):
    assert batch_system_of(head.split("\n")) is None
    assert "status-lost" in {f.rule.id for f in lint_text(head + STEP)}


def test_status_says_that_nothing_was_checked(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.pbs").write_text(f"#!/bin/bash\n#PBS -l select=2\n{STEP}")
    (tmp_path / "a.sub").write_text("executable = train.sh\nqueue\n")
    (tmp_path / "bad.slurm").write_text(f"#!/bin/bash\n#SBATCH -n 1\n{STEP}")

    assert 3 == cli.main(["lint", "a.pbs"])
    assert 3 == cli.main(["lint", "a.sub"])
    assert 1 == cli.main(["lint", "a.pbs", "bad.slurm"])
