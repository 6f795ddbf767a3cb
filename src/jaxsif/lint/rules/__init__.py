"""All rules, in the order of docs/lint.md."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from jaxsif.lint.rule import Rule
from jaxsif.lint.rules import (
    container,
    directives,
    environment,
    file,
    group,
    ignoring,
    packages,
    shape,
    status,
    steps,
)

# The rules by topic.
TOPICS: dict[str, tuple[Rule, ...]] = {
    "The file": file.RULES,
    "Directives": directives.RULES,
    "Nodes, tasks, GPUs": shape.RULES,
    "srun": steps.RULES,
    "JAX's group": group.RULES,
    "Exit status": status.RULES,
    "Container": container.RULES,
    "Packages": packages.RULES,
    "Variables": environment.RULES,
    "Comments that ignore": ignoring.RULES,
}
RULES: tuple[Rule, ...] = tuple(rule for rules in TOPICS.values() for rule in rules)
