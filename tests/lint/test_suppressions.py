"""Suppression comments hide findings if they have a reason and a known rule."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest

from jaxsif.lint.lint import lint_text

HEAD = "#!/bin/bash\n#SBATCH -N 2 --ntasks-per-node=4\nset -euo pipefail\n"
STEP = "srun python train.py"


@pytest.mark.parametrize(
    ("comment", "reason"),
    [
        ("ignore[srun-kill] they are alone", "they are alone"),
        ("ignore[srun-kill]", None),
    ],
)
def test_comment_without_reason_suppresses_nothing(comment, reason):
    findings = lint_text(f"{HEAD}{STEP}  # jax-sif: {comment}\n")

    assert [reason] == [f.suppressed_by for f in findings if f.rule.id == "srun-kill"]
    assert (reason is None) == ("ignore-reason" in {f.rule.id for f in findings})


def test_comment_on_its_own_line_covers_the_next_line_only():
    comment = "# jax-sif: ignore[srun-kill] they are alone\n"

    findings = lint_text(f"{HEAD}{comment}{STEP}\n{STEP}\n")

    suppressed = {f.line: f.suppressed_by for f in findings if f.rule.id == "srun-kill"}
    assert {5: "they are alone", 6: None} == suppressed


def test_mistyped_rule_has_a_suggestion():
    findings = lint_text(f"{HEAD}{STEP}  # jax-sif: ignore[srun-kil] alone\n")

    (unknown,) = (f for f in findings if f.rule.id == "ignore-unknown")
    assert "srun-kill" in unknown.fix
