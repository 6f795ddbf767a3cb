"""Each rule has a fix, a reason and a source; severities; the kit's own image."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re

import lint_page
import pytest

from jaxsif.lint.lint import lint_text
from jaxsif.lint.rule import SEVERITIES, Rule
from jaxsif.lint.rules import RULES, container, jax, script, srun

HEAD = "#!/bin/bash\n#SBATCH -N 2 --ntasks-per-node=4 --gpus-per-node=4\nset -euo pipefail\n"

each_rule = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)


@each_rule
def test_rule_has_fix_reason_and_source(rule):
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", rule.id)
    assert rule.severity in SEVERITIES
    for text in (rule.title, rule.fix, rule.why, rule.source):
        assert text == text.strip() != ""
        assert "\n" not in text
        assert not text.endswith(".") or text.endswith("...")


def test_ids_are_unique():
    assert len(RULES) == len({rule.id for rule in RULES})


def test_every_rule_belongs_to_a_topic():
    modules = (script, srun, jax, container)
    defined = {v.id for m in modules for v in vars(m).values() if isinstance(v, Rule)}

    assert defined == {rule.id for rule in RULES if rule.check}


def test_page_is_up_to_date():
    page = lint_page.PAGE.read_text()

    assert lint_page.renewed(page) == page, lint_page.COMMAND


def test_page_has_an_anchor_of_each_rule():
    page = lint_page.PAGE.read_text()

    assert [] == [rule.id for rule in RULES if f"\n#### {rule.id}\n" not in page]


def test_missing_rule_on_the_page_is_noticed():
    page = lint_page.PAGE.read_text().replace("#### srun-cpus", "#### srun-cpu")

    assert lint_page.renewed(page) != page


def severities(text: str) -> dict[str, str]:
    return {f.rule.id: f.severity for f in lint_text(text)}


@pytest.mark.parametrize(
    ("directive", "severity"),
    [
        ("--gpus-per-node=4", "warning"),
        ("--gpus-per-node=a100:4", "error"),
        # Then the variable is not there at all.
        ("--gres=gpu:4", "error"),
    ],
)
def test_value_that_is_certainly_not_a_number_is_an_error(directive, severity):
    text = (
        f"#!/bin/bash\n#SBATCH {directive}\nexec srun x --n $((SLURM_GPUS_PER_NODE))\n"
    )

    assert severity == severities(text)["slurm-number"]


@pytest.mark.parametrize(
    ("option", "severity"), [("--nodse=2", "error"), ("--quantum=yes", "warning")]
)
def test_option_that_resembles_none_may_be_a_plug_in(option, severity):
    text = f"#!/bin/bash\n#SBATCH {option}\nexec srun hostname\n"

    assert severity == severities(text)["directive-unknown"]


@pytest.mark.parametrize(
    "image",
    [
        '"$JAX_IMAGE"',
        "/images/jax-sif-0.12.0.1-cuda12.sif",
        '"$image"',
    ],
)
def test_own_image_is_recognized_even_through_a_variable(image):
    start = f'{HEAD}: "${{JAX_IMAGE:?}}"\nimage=$JAX_IMAGE\n'
    steps = f"srun -K1 singularity run --nv {image} python train.py &\n" * 2

    found = severities(f"{start}{steps}wait -n\nwait -n\n")

    assert "port-shared" not in found


def test_image_of_a_centre_has_no_entry():
    start = f"{HEAD}module load jax/23.10-sif\n"
    steps = 'srun -K1 singularity run --nv "$JAX_IMAGE" python train.py &\n' * 2

    assert "port-shared" in severities(f"{start}{steps}wait -n\nwait -n\n")


def test_steps_with_wait_between_them_do_not_share_a_port():
    step = "srun -K1 python train.py &\nwait $!\n"

    assert "port-shared" not in severities(HEAD + step * 2)


def test_instance_is_judged_where_it_is_started():
    start = "#!/bin/bash\n#SBATCH --gpus=1\nsingularity instance start {} jax.sif box\n"
    join = "singularity exec instance://box python train.py\n"

    without, with_gpus = (
        [f.line for f in lint_text(start.format(o) + join) if f.severity == "error"]
        for o in ("", "--nv")
    )

    assert ([3], []) == (without, with_gpus)


@pytest.mark.parametrize(
    ("program", "severity"),
    [
        ("python train_jax.py", "error"),
        # It may belong to any framework.
        ("python train.py", "warning"),
        ("torchrun train.py", None),
    ],
)
def test_rule_of_jax_is_certain_where_the_script_names_jax(program, severity):
    head = "#!/bin/bash\n#SBATCH --ntasks-per-node=4 --gpus-per-task=1\n"

    assert severity == severities(f"{head}srun {program}\n").get("gpu-binding")


@pytest.mark.parametrize(
    ("options", "rule", "severity"),
    [
        ("--ntasks-per-node=4 --gpus-per-task=1", "gpu-binding", "error"),
        ("--ntasks-per-node=4 --gpu-bind=closest", "gpu-binding", "warning"),
        ("--ntasks-per-node=4 --gpu-bind=single:1", "gpu-binding", "error"),
        ("--ntasks-per-node=4 --gpu-bind=none", "gpu-binding", None),
        # Each ordinal exists, and one GPU of each task is used.
        ("--ntasks-per-node=2 --gpus-per-task=2", "gpu-binding", None),
        ("--ntasks-per-node=2 --gpus-per-task=2", "gpus-idle", "warning"),
        ("--ntasks-per-node=1 --gpus-per-task=4", "gpus-idle", "warning"),
        ("--ntasks-per-node=4 --gpus-per-task=1", "gpus-idle", None),
        ("--ntasks-per-node=8 --gpus-per-node=4", "gpus-tasks", "error"),
        ("--ntasks-per-node=3 --gpus-per-node=4", "gpus-tasks", "warning"),
    ],
)
def test_gpus_of_a_task(options, rule, severity):
    if "gpus" not in options:
        options += " --gpus-per-node=4"
    text = f"#!/bin/bash\n#SBATCH -N 2 {options}\nsrun python train_jax.py\n"

    assert severity == severities(text).get(rule)


STEP = "srun -K1 {} python train_jax.py &\n"


@pytest.mark.parametrize(
    ("first", "second", "severity"),
    [
        ("", "", "error"),
        ("-N1", "-N1", "warning"),
        ("-N1 -w n1", "-N1 -w n2", None),
        ("-N1 -r0", "-N1 -r1", None),
    ],
)
def test_steps_share_a_port_for_certain_on_the_same_nodes(first, second, severity):
    steps = STEP.format(first) + STEP.format(second)

    assert severity == severities(f"{HEAD}{steps}wait -n\nwait -n\n").get("port-shared")


def test_options_of_a_component_are_its_own():
    text = (
        "#!/bin/bash\n#SBATCH -n 1\n#SBATCH hetjob\n"
        "#SBATCH -N 2 --ntasks-per-node=4 --gpus-per-task=1\n"
        "set -e\nsrun -K1 --het-group={} python train_jax.py\n"
    )

    assert {} == severities(text.format(0))
    assert {"gpu-binding": "error"} == severities(text.format(1))
    # Both components: nothing is known of the tasks of a node.
    assert {} == severities(text.format("0,1"))


@pytest.mark.parametrize(
    ("ending", "is_lost"),
    [
        ('echo "finished with exit code $?"', True),
        ("rc=$?; echo $rc", True),
        ("if [ $? -ne 0 ]; then echo failed; fi", True),
        ("if [ $? -eq 0 ]; then echo ok; else echo failed; exit 1; fi", False),
        ("rc=$?; echo $rc; exit $rc", False),
        ('rc=$?\necho "$rc" ; exit "$rc"', False),
        ("rc=$?\n[ $rc -eq 0 ] && echo ok", False),
        ("exit $?", False),
        ("[ $? -eq 0 ]", False),
        ("(( $? == 0 )) || scancel $SLURM_JOB_ID", False),
        ("failed=$?\ntrap 'exit $failed' EXIT", False),
        ("case $? in 0) ;; *) exit 1;; esac", False),
        ("echo done", True),
        ("exit", False),
        ("exit 0", True),
    ],
)
def test_printed_status_is_lost(ending, is_lost):
    text = f"#!/bin/bash\n#SBATCH -n 1\nsrun python train.py\n{ending}\n"

    assert is_lost == ("status-lost" in severities(text))


@pytest.mark.parametrize(
    ("first", "is_right"),
    [
        ("#!/bin/bash", True),
        ("#!/bin/bash -l", True),
        ("#!/bin/bash --login", True),
        ("#!/bin/bash -e -u", False),
        ("#!/bin/bash job.sh", False),
        ("#!/usr/bin/env bash", True),
        ("#!/usr/bin/env bash -e", False),
        ("#!/usr/bin/env -S bash -e", True),
        ("#! /bin/bash ", True),
    ],
)
def test_shebang_has_one_argument_at_most(first, is_right):
    assert is_right == ("shebang" not in severities(f"{first}\n#SBATCH -n 1\nsrun x\n"))


def test_script_within_a_script_has_its_own_directives():
    text = "#!/bin/bash\nx=1\nsbatch <<EOF\n#!/bin/bash\n#SBATCH -n $x\nsrun y\nEOF\n"

    assert {} == severities(text)
    assert severities(f"{text}#SBATCH -n 1\n") == {"directive-late": "error"}


@pytest.mark.parametrize(("tasks", "is_wrong"), [(1, False), (2, True)])
def test_number_of_the_only_rank_is_that_of_the_batch_script(tasks, is_wrong):
    text = f"#!/bin/bash\n#SBATCH -n {tasks}\nexport RANK=$SLURM_PROCID\nsrun x.py\n"

    assert is_wrong == ("rank-expanded-too-early" in severities(text))


def test_without_directives_the_job_is_unknown():
    step = "srun -N 8 -n 64 --container-image=/i.sqsh bash run.sh 2>&1 | tee log &\n"

    found = severities(step)

    assert "error" not in found.values()
    assert {"shebang": "note", "status-pipe": "warning"}.items() <= found.items()
    assert "srun-nodes" not in found


@pytest.mark.parametrize(
    "text",
    [
        # A command of the ranks, in another shell's quotes.
        "srun -n 2 sh -c 'echo '$(srun hostname -s; echo '$SLURM_PROCID')''\n",
        # A backslash at the end of the file.
        "srun -n 1 python train.py --x \\\n",
    ],
)
def test_rest_of_a_line_is_no_mistake(text):
    found = severities(f"#!/bin/bash\n#SBATCH -n 2\n{text}")

    assert {"error", "note"}.isdisjoint(found.values())


@pytest.mark.parametrize(
    ("value", "is_right"),
    [("0-2", True), ("1-9:2%4", True), ("1,3,5", True), ("1-{#}", False), ("a", False)],
)
def test_array_is_a_list_of_numbers(value, is_right):
    text = f"#!/bin/bash\n#SBATCH --array={value}\nsrun python train.py\n"

    assert is_right == ("directive-value" not in severities(text))


@pytest.mark.parametrize(
    ("value", "severity"),
    [
        ("two", "error"),
        ("NUM_NODES", "warning"),
        ("<nodes>", "warning"),
        ("{{ nodes }}", None),
        ("{nodes}", None),
        ("2-4", None),
        ("2", None),
    ],
)
def test_placeholder_is_to_be_filled_in(value, severity):
    text = f"#!/bin/bash\n#SBATCH '--nodes={value}'\nsrun python train.py\n"

    assert severity == severities(text).get("directive-value")


def test_template_is_read_as_what_it_becomes():
    text = (
        '{% extends "base.sh" %}\n{% block header %}\n#!/bin/bash\n'
        "#SBATCH --time={{ walltime }} -n 1\n{% if gpu %}\n#SBATCH --gpus=1\n{% endif %}\n"
        "srun python train.py\n{% endblock %}\n"
    )

    assert {} == severities(text)


@pytest.mark.parametrize(
    ("line", "is_wrong"),
    [
        ("srun A=1 python train.py", True),
        ("srun ml load cuda", True),
        ("A=1 srun python train.py", False),
        ("srun env A=1 python train.py", False),
        ("srun --export=ALL,A=1 python train.py", False),
    ],
)
def test_srun_starts_a_program(line, is_wrong):
    text = f"#!/bin/bash\n#SBATCH -n 1\n{line}\n"

    assert is_wrong == ("srun-builtin" in severities(text))


@pytest.mark.parametrize(
    ("line", "is_wrong"),
    [
        ("python train.py --seed 1", True),
        ("module load cuda", True),
        ("import jax", False),
        ("source = 'a.py'", False),
        ("echo(1)", False),
    ],
)
def test_commands_of_the_shell_in_a_script_for_python(line, is_wrong):
    text = f"#!/usr/bin/python3\n#SBATCH -n 1\n{line}\n"

    assert is_wrong == ("shebang" in severities(text))


def test_comment_behind_a_backslash_ends_the_command():
    text = "#!/bin/bash\n#SBATCH -n 1\nA=1 \\  # new\nsrun python train.py\n"

    assert "error" == severities(text).get("continuation")


@pytest.mark.parametrize(
    ("directive", "severity"),
    [("-n 4 --module=gpu", None), ("-n 4 --module=mpich", "error"), ("", "warning")],
)
def test_options_of_shifter_may_be_directives(directive, severity):
    head = f"#!/bin/bash\n#SBATCH {directive}\n" if directive else "#!/bin/bash\n"
    step = "srun --gpus-per-node=4 shifter --image=jax python train.py\n"

    assert severity == severities(head + step).get("container-nv")


@pytest.mark.parametrize(
    ("program", "is_lost"),
    [
        ("pmemd.cuda -O -i md.in\necho done", True),
        ("gmx mdrun -deffnm md\necho done\ndate", True),
        ("pmemd.cuda -O -i md.in || exit\necho done", False),
        ("pmemd.cuda -O -i md.in\nrc=$?\necho done\nexit $rc", False),
        ("pmemd.cuda -O -i md.in", False),
        ("cp a b\necho done", False),
        ("source env.sh\necho done", False),
        ("set -e\npmemd.cuda -O -i md.in\necho done", False),
        ("run() { ./a.out; }\nrun\necho done", False),
    ],
)
def test_status_of_any_program_at_the_end_counts(program, is_lost):
    text = f"#!/bin/bash\n#SBATCH -n 1\n{program}\n"

    assert is_lost == ("status-lost" in severities(text))


def test_programs_that_share_the_gpus_leave_none_idle():
    text = (
        "#!/bin/bash\n#SBATCH -n 2 --gpus=2\nCUDA_VISIBLE_DEVICES=0 python a.py &\n"
        "CUDA_VISIBLE_DEVICES=1 python b.py\nwait $!\n"
    )

    assert {"cuda-visible", "srun-missing"}.isdisjoint(severities(text))
