"""Scripts that nobody writes: what lint reads of them is bounded, and it says where it stopped."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import tracemalloc

import pytest

from jaxsif.lint.lint import lint_text
from jaxsif.lint.script import parse_script

HEAD = "#!/bin/bash\n#SBATCH --nodes=2\n#SBATCH --ntasks-per-node=4\n"
DOUBLED = "a0=xxxxxxxxxx\n" + "".join(
    f"a{i}=$a{i - 1}$a{i - 1}\n" for i in range(1, 40)
)


def test_a_value_that_doubles_forty_times_becomes_unknown():
    tracemalloc.start()
    script = parse_script(HEAD + DOUBLED + "srun python $a39\n")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    (run,) = script.runs
    assert peak < 20 << 20
    assert not run.program[-1].is_literal


def test_a_value_of_usual_length_is_known():
    script = parse_script(HEAD + f"a={'x' * 500}\nsrun python $a\n")

    assert script.runs[0].program[-1].text == "x" * 500


@pytest.mark.parametrize(
    "many",
    [
        "srun python x.py\n" * 60_000,
        "cat | " * 100_000 + "cat\n",
        "a+=(x y)\n" * 50_000,
        'b="$a"' + '"$a"' * 100_000 + "\n",
        "a=(" + "x " * 50_000 + ")\n" + "srun ${a[@]}\n" * 1000,
        "cat <<A\n" * 50_000,
        "bash -c 'srun python x.py'\n" * 20_000,
        "".join(f"export A{i}=1\nsrun python x.py\n" for i in range(20_000)),
    ],
    ids=["srun", "pipes", "append", "quotes", "array", "heredocs", "nested", "export"],
)
def test_of_a_script_without_end_a_bounded_part_is_read(many):
    script = parse_script(HEAD + many)

    work = sum(1 + len(command.args) for command in script.commands)
    exported = sum(len(run.variables) for run in script.runs)
    assert work < 20_000
    assert len(script.runs) < 20_000
    assert exported < 300 * max(1, len(script.runs))


def test_where_the_reading_stopped_is_a_note():
    found = lint_text(HEAD + "set -euo pipefail\n" + "hostname\n" * 40_000)

    assert [f.line for f in found if f.rule.id == "unreadable"] != []


def test_a_large_script_of_a_person_is_read_to_its_end():
    script = parse_script(HEAD + "srun python x.py\n" * 1500)

    assert script.parsed.unparsed_line is None
    assert len(script.runs) == 1500


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
def test_a_step_behind_a_wrapper_is_a_step(wrapper):
    script = parse_script(HEAD + f"{wrapper} srun --ntasks=8 python train.py\n")

    (run,) = script.runs
    assert run.is_srun_step
    assert run.resources.tasks == 8
