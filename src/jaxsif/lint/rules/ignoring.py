"""Suppression comments. These rules are applied last."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Iterator

from jaxsif.lint.rule import ERROR, NOTE, Rule, Violation
from jaxsif.lint.script import Script


def _nothing(script: Script) -> Iterator[Violation]:
    """These rules check findings, not the script: see ignored.py."""
    return iter(())


UNKNOWN = Rule(
    "ignore-unknown",
    ERROR,
    "A comment ignores a rule that does not exist",
    "# jax-sif: ignore[rule-id] reason; the ids: jax-sif lint --rules",
    "a mistyped id suppresses nothing",
    "docs/lint.md",
    _nothing,
)
REASON = Rule(
    "ignore-reason",
    ERROR,
    "A suppression comment has no reason",
    "# jax-sif: ignore[rule-id] reason",
    "the next reader must know whether the reason still applies",
    "docs/lint.md",
    _nothing,
)
UNUSED = Rule(
    "ignore-unused",
    NOTE,
    "A comment ignores a rule that finds nothing",
    "remove it",
    "it would suppress the next real finding",
    "docs/lint.md",
    _nothing,
)

RULES = (UNKNOWN, REASON, UNUSED)
