"""Words and variables are expanded as the shell expands them."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import tracemalloc

import pytest

from jaxsif.lint.script import parse_script

HEAD = "#!/bin/bash\n#SBATCH -N 2 --ntasks-per-node=4 -c 8\n"
DOUBLED = "a0=xxxxxxxxxx\n" + "".join(
    f"a{i}=$a{i - 1}$a{i - 1}\n" for i in range(1, 40)
)


def args_of_first_srun(text: str) -> list[str]:
    script = parse_script(HEAD + text)
    command = next(c for c in script.commands if c.name == "srun")
    return [word.text for word in command.args]


@pytest.mark.parametrize(
    ("text", "args"),
    [
        ("srun -n $SLURM_NTASKS x", ["srun", "-n", "8", "x"]),
        ("srun -n $((SLURM_NNODES * 2)) x", ["srun", "-n", "4", "x"]),
        ('srun -c "${SLURM_CPUS_PER_TASK}" x', ["srun", "-c", "8", "x"]),
        ("o='-K1 -l'\nsrun $o x", ["srun", "-K1", "-l", "x"]),
        ("o='a b'\nsrun \"$o\"", ["srun", "a b"]),
        ('o=(-K1 "a b")\no+=(-l)\nsrun "${o[@]}" x', ["srun", "-K1", "a b", "-l", "x"]),
        ("srun $unknown x", ["srun", "$unknown", "x"]),
        ("if a; then o=1; fi\nsrun $o", ["srun", "$o"]),
        ("for o in 1 2; do srun $o; done", ["srun", "$o"]),
        ("o=1\nwhile a; do srun $o; o=$((o + 1)); done", ["srun", "$o"]),
        ("read o\nsrun $o", ["srun", "$o"]),
        ("o=1\nunset o\nsrun $o", ["srun", "$o"]),
        ("A=1 B=2\nC=$(date)\nsrun $A$B", ["srun", "12"]),
        ("srun a \\\n  b", ["srun", "a", "b"]),
        ("srun 'a b' \"c d\" e\\ f", ["srun", "a b", "c d", "e f"]),
        ("l='srun -n 2'\n$l x", ["srun", "-n", "2", "x"]),
    ],
)
def test_words_are_expanded_as_by_the_shell(text, args):
    assert args == args_of_first_srun(text)


def test_value_that_doubles_forty_times_is_unknown():
    tracemalloc.start()
    script = parse_script(HEAD + DOUBLED + "srun python $a39\n")
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    (run,) = script.runs
    assert peak_bytes < 20 << 20
    assert not run.program[-1].is_literal


def test_value_of_usual_length_is_known():
    script = parse_script(HEAD + f"a={'x' * 500}\nsrun python $a\n")

    assert "x" * 500 == script.runs[0].program[-1].text
