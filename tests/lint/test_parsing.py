"""What the lint reads out of a script: directives, options, counts, words, commands; and any text at all."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest
from checkout import TESTS
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxsif.lint.lint import lint_text
from jaxsif.lint.model import Word
from jaxsif.lint.options import SBATCH, SRUN, parse_options
from jaxsif.lint.resources import count_gpus, count_gres, job_resources
from jaxsif.lint.script import parse_directives, parse_script, split_directive

SCRIPTS = TESTS / "scripts"


# As sbatch 26.05 cuts them (sbatch -vvvv --test-only).
@pytest.mark.parametrize(
    ("text", "args"),
    [
        (" --nodes=2 # a comment", ["--nodes=2"]),
        (' --job-name="a b"', ["--job-name=a b"]),
        ("   -n4  -c 2", ["-n4", "-c", "2"]),
        ("--comment=glued", ["--comment=glued"]),
        (" --output=a#b", ["--output=a"]),
        (r" --constraint='x y'\ z", ["--constraint=x y z"]),
        ("\t--mail-user=tab", ["--mail-user=tab"]),
        (" --comment=''", ["--comment="]),
        (' --comment="a # b"', ["--comment=a # b"]),
    ],
)
def test_a_directive_is_cut_as_slurm_cuts_it(text, args):
    assert args == [word.text for word in split_directive(text, 1)]


def test_directives_end_at_the_first_command():
    lines = [
        "#!/bin/sh",
        " #SBATCH -N 1",
        "",
        "#SBATCH -N 2",
        "  ",
        "date",
        "#SBATCH -N3",
    ]

    found = parse_directives(lines)

    assert [("nodes", "2")] == [(o.name, o.value.text) for o in found.options.options]
    assert (6, (7,)) == (found.first_command, found.after_first_command)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("-N2 -n 8", {"nodes": "2", "ntasks": "8"}),
        ("--tasks-per-node 4", {"ntasks-per-node": "4"}),
        ("--exclusive --nodes=3", {"exclusive": None, "nodes": "3"}),
        ("--exclusive=user", {"exclusive": "user"}),
        ("--part gpu --acco x", {"partition": "gpu", "account": "x"}),
        ("-HvJ name", {"hold": None, "verbose": None, "job-name": "name"}),
    ],
)
def test_options_of_sbatch_are_read_in_every_form(line, expected):
    options = parse_options([Word(text, 1) for text in line.split()], SBATCH)

    found = {o.name: o.value.text if o.value else None for o in options.options}
    assert expected == found


@pytest.mark.parametrize(
    ("line", "error"),
    [("--nodse=2", "unknown"), ("--ntasks-per=2", "ambiguous"), ("-N", "no value")],
)
def test_options_that_sbatch_refuses_have_a_fault(line, error):
    (option,) = parse_options([Word(line, 1)], SBATCH).options

    assert error == option.error


def test_the_options_of_srun_end_where_the_program_begins():
    line = "-n 4 -K1 --kill-on-bad-exit python train.py -n 9"

    options = parse_options([Word(text, 1) for text in line.split()], SRUN)

    assert "4" == options.text("ntasks")
    assert ["python", "train.py", "-n", "9"] == [
        word.text for word in options.remaining
    ]


@pytest.mark.parametrize(
    ("text", "count", "is_typed"),
    [("4", 4, False), ("a100:4", 4, True), ("a100:2,v100:1", 3, True)],
)
def test_gpus_are_counted(text, count, is_typed):
    found = count_gpus(text)

    assert found is not None
    assert (count, is_typed) == (found.count, found.is_typed)


@pytest.mark.parametrize("text", [None, "", "a100", "$N", "4-8"])
def test_what_is_no_count_of_gpus_is_none(text):
    assert count_gpus(text) is None


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("gpu:4", 4),
        ("gpu", 1),
        ("gpu:a100", 1),
        ("gpu:80gb:2", 2),
        ("shard:2,gpu:a100:4", 4),
        ("cpu=4,gres/gpu:a100=2", 2),
        ("gpu:0", 0),
    ],
)
def test_gpus_among_other_resources_are_counted(text, count):
    found = count_gres(text)

    assert found is not None
    assert count == found.count


# nodes, tasks, tasks per node, GPUs per node
@pytest.mark.parametrize(
    ("line", "resources"),
    [
        ("", (1, 1, 1, None)),
        ("-N 2", (2, 2, 1, None)),
        ("-n 8", (None, 8, None, None)),
        ("-N 2 -n 8", (2, 8, 4, None)),
        ("-N 2 -n 7", (2, 7, None, None)),
        ("-N 2 --ntasks-per-node=4 --gres=gpu:4", (2, 8, 4, 4)),
        ("--ntasks-per-node=4 --gpus-per-node=a100:4", (1, 4, 4, 4)),
        ("-N 2 -G 8 -n 8", (2, 8, 4, 4)),
        ("-N 2 --ntasks-per-node=4 --gpus-per-task=1", (2, 8, 4, 4)),
        ("--gpus=8 --gpus-per-task=2", (None, 4, None, None)),
        ("-N 2-4 --ntasks-per-node=4", (None, None, 4, None)),
        ("--gpus=4 --ntasks-per-gpu=1", (None, None, None, None)),
    ],
)
def test_the_shape_of_a_job_follows_from_its_options(line, resources):
    requested = parse_options([Word(text, 1) for text in line.split()], SBATCH)

    found = job_resources(requested)

    assert resources == (
        found.nodes,
        found.tasks,
        found.tasks_per_node,
        found.gpus_per_node,
    )


HEAD = "#!/bin/bash\n#SBATCH -N 2 --ntasks-per-node=4 -c 8\n"


def words_of_first_srun(text: str) -> list[str]:
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
def test_words_are_what_the_shell_would_make_of_them(text, args):
    assert args == words_of_first_srun(text)


@pytest.mark.parametrize(
    ("text", "launched"),
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
def test_programs_are_found_behind_launchers_containers_and_shells(text, launched):
    script = parse_script(HEAD + text)

    assert launched == [
        (
            run.launcher,
            run.container.action if run.container else "",
            " ".join(word.text for word in run.program),
        )
        for run in script.runs
    ]


@settings(deadline=None)
@given(st.text())
def test_any_text_is_examined(text):
    last = text.count("\n") + 1

    assert [] == [f for f in lint_text(text) if not 1 <= f.line <= last]


PIECES = r"""
    srun singularity exec --nv -n 4 $X "${X[@]}" $(srun x) ` " ' ( ) { } ; & && || | |&
    \ << EOF <<< [[ ]] if then else fi for i in do done while case esac ;; f() += A=1 export
    unset set -euo pipefail wait #SBATCH --gpus=a:4 $(( )) ${ $' ! python -c bash #
    --container-image=
"""
# The grammar's own code crashes on such a character behind a brace (its issue 337).
FAR = "{\U00031860"
a_piece = st.sampled_from([*PIECES.split(), FAR, "\ufffd", "\x85", "\n"])


@settings(deadline=None, max_examples=300)
@given(st.lists(a_piece))
def test_any_heap_of_words_is_examined(parts):
    lint_text(" ".join(parts))


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_every_script_is_examined_with_any_part_torn_out(data):
    path = data.draw(st.sampled_from(sorted(SCRIPTS.glob("*.slurm"))))
    text = path.read_bytes().decode()
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))

    lint_text(text[:start] + text[end:])


@pytest.mark.parametrize("opened", ["(", "{ ", "$(", "if a; then ", "((", "[[ ", "`"])
def test_the_deepest_nesting_is_examined(opened):
    lint_text("#!/bin/bash\n" + opened * 20_000)
    lint_text("#!/bin/bash\n" + opened * 300 + "x" + ")" * 300)
