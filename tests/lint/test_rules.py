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


def test_missing_rule_on_the_page_is_noticed():
    page = lint_page.PAGE.read_text().replace("| `srun-cpus` |", "| `srun-cpu` |")

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
