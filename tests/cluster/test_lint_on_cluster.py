"""jax-sif lint beside a real Slurm: it reads directives as sbatch does, and works from the login node."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re

from cluster import CHECKOUT

from jaxsif.lint.lint import lint_text
from jaxsif.lint.script import parse_directives, split_directive

SCRIPTS = sorted((CHECKOUT / "tests/scripts").glob("*.slurm"))
# Slurm itself says which words it finds in each script; nothing is submitted.
ASK = """
for script; do
  echo "== $script"
  sbatch -vvvv --test-only "$script" 2>&1 || :
done
"""
FOUND = re.compile(r'Found in script, argument "(.*)"$', re.MULTILINE)
# Slurm looks no further into a file that is no script, and reads those of PBS as well.
REFUSED = {"shebang", "line-ends", "batch-system"}
READY = 'module use "$1/modulefiles"; module load "$2"; shift 2\n'


def words_of_lint(text: str) -> list[str]:
    lines = text.split("\n")
    last = parse_directives(lines).first_command or len(lines)
    directives = [line for line in lines[:last] if line.startswith("#SBATCH")]
    words = [word.text for line in directives for word in split_directive(line[7:], 1)]
    # It parts a heterogeneous job, and is no word of either part.
    return [word for word in words if word != "hetjob"]


def test_directives_are_read_as_sbatch_reads_them(cluster):
    texts = {str(path): path.read_bytes().decode() for path in SCRIPTS}
    readable = {
        path: text
        for path, text in texts.items()
        if not REFUSED & {finding.rule.id for finding in lint_text(text)}
    }

    done = cluster.bash(ASK, *readable)

    assert 0 == done.returncode, done.stderr
    parts = [part.partition("\n") for part in done.stdout.split("== ")[1:]]
    words = {path: FOUND.findall(said) for path, _, said in parts}
    assert len(words) > 40
    assert {path: words_of_lint(text) for path, text in readable.items()} == words


def test_a_script_is_linted_from_the_login_node(cluster):
    script = CHECKOUT / "tests/scripts/no-nv.slurm"

    done = cluster.bash(
        f'{READY}jax-sif lint - < "$1"', str(CHECKOUT), cluster.module, str(script)
    )

    assert 1 == done.returncode, done.stderr
    assert "stdin:8: error: " in done.stdout
    assert "[container-nv]" in done.stdout


REFUSED_VALUES = (
    *("--array=1-{", "--time=soon", "--nodes=two", "--ntasks=all", "--mem=16,000"),
    *("--cpus-per-task=c", "--ntasks-per-node=n"),
)


def test_values_that_lint_refuses_are_refused_by_sbatch(cluster):
    script = "#!/bin/bash\n#SBATCH {}\nsrun hostname\n"
    ask = (
        'for value; do sbatch --test-only "$value" --wrap true && echo "= taken"'
        ' || echo "= refused"; done'
    )

    done = cluster.bash(ask, "--nodes=1", *REFUSED_VALUES)

    found = re.findall(r"^= (\w+)$", done.stdout, re.MULTILINE)
    assert ["taken", *["refused"] * len(REFUSED_VALUES)] == found, done.stderr
    for value in REFUSED_VALUES:
        rules = {finding.rule.id for finding in lint_text(script.format(value))}
        assert "directive-value" in rules, value


TRAPS = """
try() {
  name=$1; shift
  "$@" && echo "$name 0" || echo "$name $?"
}
try gpus sbatch --test-only --nodes=1 --gres=gpu:1 --gpus-per-node=1 --wrap true
try source srun -n 1 source /dev/null
try assignment srun -n 1 NAME=1 hostname
"""


def test_traps_that_lint_names_are_traps_of_this_slurm(cluster):
    done = cluster.bash(TRAPS)

    status = dict(re.findall(r"^(gpus|source|assignment) (\d+)$", done.stdout, re.M))
    assert {"gpus", "source", "assignment"} == status.keys()
    assert "0" not in status.values(), done.stdout + done.stderr
