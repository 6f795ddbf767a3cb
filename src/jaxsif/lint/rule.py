"""Rules, violations and findings."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from jaxsif.lint.script import Script

# It breaks the job or its result; it may break them; it is worth knowing.
ERROR, WARNING, NOTE = "error", "warning", "note"
SEVERITIES = (ERROR, WARNING, NOTE)


@dataclass(frozen=True)
class Violation:
    """A violation of a rule in a line; `fix` and `severity` override the rule's."""

    line: int
    text: str
    fix: str = ""
    severity: str = ""


Check = Callable[[Script], Iterator[Violation]]


@dataclass(frozen=True)
class Rule:
    """A known mistake.

    Attributes:
      id: its name for users.
      severity: ERROR, WARNING or NOTE.
      title: the mistake, in one sentence.
      fix: what to do.
      why: what the mistake causes.
      source: where this is documented, or how it was found out.
      check: yields the violations of a script; None for rules about suppressions.
      needs_jax: whether it holds for JAX only: unless the script names JAX, its errors
        are warnings, because `train.py` may belong to another framework.
      needs_batch: whether it holds for scripts that sbatch starts: without directives
        its errors are warnings, because the script may be run by hand.
    """

    id: str
    severity: str
    title: str
    fix: str
    why: str
    source: str
    check: Check | None = None
    needs_jax: bool = False
    needs_batch: bool = False

    def finding(
        self, violation: Violation, script: Script | None = None
    ) -> LintFinding:
        """Return the finding; what depends on an unknown is a warning, no error."""
        severity = violation.severity or self.severity
        is_certain = script is None or (
            (script.is_jax or not self.needs_jax)
            and (script.is_batch_script or not self.needs_batch)
        )
        if severity == ERROR and not is_certain:
            severity = WARNING
        return LintFinding(
            self,
            violation.line,
            severity,
            violation.text,
            violation.fix or self.fix,
        )


@dataclass(frozen=True)
class LintFinding:
    """A violation with its rule, and the reason of the comment that suppresses it."""

    rule: Rule
    line: int
    severity: str
    text: str
    fix: str
    suppressed_by: str | None = None


def rule(
    rule_id: str,
    severity: str,
    *,
    fix: str,
    why: str,
    source: str,
    needs_jax: bool = False,
    needs_batch: bool = False,
) -> Callable[[Check], Rule]:
    """Make a rule of a check, whose docstring is the rule's title."""

    def make(check: Check) -> Rule:
        title = (check.__doc__ or "").strip().removesuffix(".")
        return Rule(
            rule_id, severity, title, fix, why, source, check, needs_jax, needs_batch
        )

    return make
