"""What the rules say: every one has a fix, a reason and a source, and the page shows them all."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re

import lint_page
import pytest

from jaxsif.lint.lint import lint_text
from jaxsif.lint.rule import SEVERITIES
from jaxsif.lint.rules import RULES

HEAD = "#!/bin/bash\n#SBATCH -N 2 --ntasks-per-node=4 --gpus-per-node=4\nset -euo pipefail\n"

each_rule = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)


@each_rule
def test_every_rule_says_what_to_do_why_and_who_says_so(rule):
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", rule.id)
    assert rule.severity in SEVERITIES
    for text in (rule.title, rule.fix, rule.why, rule.source):
        assert text == text.strip() != ""
        assert "\n" not in text
        assert not text.endswith(".") or text.endswith("...")


def test_no_two_rules_have_one_id():
    assert len(RULES) == len({rule.id for rule in RULES})


def test_the_page_shows_the_rules_as_they_are():
    page = lint_page.PAGE.read_text()

    assert lint_page.renewed(page) == page, lint_page.COMMAND


def test_a_page_without_a_rule_would_be_noticed():
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
def test_a_count_that_is_none_for_certain_is_an_error(directive, severity):
    text = (
        f"#!/bin/bash\n#SBATCH {directive}\nexec srun x --n $((SLURM_GPUS_PER_NODE))\n"
    )

    assert severity == severities(text)["slurm-number"]


@pytest.mark.parametrize(
    ("option", "severity"), [("--nodse=2", "error"), ("--quantum=yes", "warning")]
)
def test_an_option_that_resembles_none_may_be_a_plug_in(option, severity):
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
def test_the_image_is_known_by_its_name_also_through_a_variable(image):
    start = f'{HEAD}: "${{JAX_IMAGE:?}}"\nimage=$JAX_IMAGE\n'
    steps = f"srun -K1 singularity run --nv {image} python train.py &\n" * 2

    found = severities(f"{start}{steps}wait -n\nwait -n\n")

    assert "port-shared" not in found


def test_a_centres_own_image_has_no_entry():
    start = f"{HEAD}module load jax/23.10-sif\n"
    steps = 'srun -K1 singularity run --nv "$JAX_IMAGE" python train.py &\n' * 2

    assert "port-shared" in severities(f"{start}{steps}wait -n\nwait -n\n")


def test_steps_between_which_the_script_waits_do_not_meet():
    step = "srun -K1 python train.py &\nwait $!\n"

    assert "port-shared" not in severities(HEAD + step * 2)


@pytest.mark.parametrize(
    "comment", ["ignore[srun-kill] they are alone", "ignore[srun-kill]"]
)
def test_a_comment_needs_a_reason_to_count(comment):
    found = lint_text(f"{HEAD}srun python train.py  # jax-sif: {comment}\n")

    reasons = [f.suppressed_by for f in found if f.rule.id == "srun-kill"]
    has_reason = comment.endswith("alone")
    assert ["they are alone" if has_reason else None] == reasons
    assert has_reason == ("ignore-reason" not in {f.rule.id for f in found})
