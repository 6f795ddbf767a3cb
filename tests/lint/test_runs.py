"""Programs are found behind launchers, wrappers, containers and shells."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest

from jaxsif.lint.script import parse_script

HEAD = "#!/bin/bash\n#SBATCH -N 2 --ntasks-per-node=4\n"


@pytest.mark.parametrize(
    ("text", "runs"),
    [
        ("srun python a.py", [("srun", "", "python a.py")]),
        ("/usr/bin/time srun x python a.py", [("srun", "", "x python a.py")]),
        ("exec srun env A=1 timeout 60 python a.py", [("srun", "", "python a.py")]),
        (
            "srun apptainer -q exec --nv i.sif python a.py",
            [("srun", "exec", "python a.py")],
        ),
        (
            "srun bash -c 'cd x; python a.py'",
            [("srun", "", "cd x"), ("srun", "", "python a.py")],
        ),
        ("srun bash <<E\npython a.py\nE\n", [("srun", "", "python a.py")]),
        ("singularity run i.sif", [("", "run", "")]),
        ("mpirun -np 4 python a.py", [("mpirun", "", "python a.py")]),
        ("apptainer pull docker://x", []),
        ("echo srun python a.py", []),
        ("x=$(srun hostname)", [("srun", "", "hostname")]),
    ],
)
def test_programs_are_found(text, runs):
    script = parse_script(HEAD + text)

    assert runs == [
        (
            run.launcher,
            run.container.action if run.container else "",
            " ".join(word.text for word in run.program),
        )
        for run in script.runs
    ]


@pytest.mark.parametrize(
    "wrapper",
    [
        "timeout 40",
        "timeout -k 5 40",
        "nice -n 5",
        "env A=1",
        "time",
        "/usr/bin/time -f %e",
        "stdbuf -oL",
        "numactl --interleave=all",
        "taskset -c 0",
        "timeout 40 nice -n 5",
        "nohup",
    ],
)
def test_step_is_found_behind_a_wrapper(wrapper):
    script = parse_script(HEAD + f"{wrapper} srun --ntasks=8 python train.py\n")

    (run,) = script.runs
    assert run.is_srun_step
    assert 8 == run.resources.tasks
