"""All rules, in the order of docs/lint.md."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from jaxsif.lint import suppressions
from jaxsif.lint.rule import Rule
from jaxsif.lint.rules import container, jax, script, srun

TOPICS: dict[str, tuple[Rule, ...]] = {
    **script.TOPICS,
    **srun.TOPICS,
    **jax.TOPICS,
    **container.TOPICS,
    "Suppression comments": suppressions.RULES,
}
RULES: tuple[Rule, ...] = tuple(rule for rules in TOPICS.values() for rule in rules)
