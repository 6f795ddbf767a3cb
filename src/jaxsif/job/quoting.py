"""Quotes text for a job script: shell words, sbatch directives, comments."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
import shlex

_VARIABLE = r"\$(?:[A-Za-z_][A-Za-z0-9_]*|\{[A-Za-z_][A-Za-z0-9_]*\})"
_PLAIN = re.compile(r"[\w./,:=%@+~^-]+", re.ASCII)


def quote(text: str) -> str:
    """A shell word without any expansion."""
    return shlex.quote(text)


def quote_expandable(text: str) -> str:
    """A shell word in which only variables such as `$USER` are expanded."""
    parts = re.split(f"({_VARIABLE})", text)
    if len(parts) == 1:
        return quote(text)
    # Every second part is a variable.
    kept = [
        part if place % 2 else re.sub(r'([\\"`$])', r"\\\1", part)
        for place, part in enumerate(parts)
    ]
    return f'"{"".join(kept)}"'


def directive(option: str, value: str | None = None) -> str:
    """`#SBATCH --option=value`, quoted in sbatch's way: double quotes and backslashes."""
    if value is None:
        return f"#SBATCH --{option}"
    if not _PLAIN.fullmatch(value):
        value = '"' + re.sub(r'([\\"])', r"\\\1", value) + '"'
    return f"#SBATCH --{option}={value}"


def comment(text: str) -> str:
    """Text that is safe in a one-line comment."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "replace").decode()
        for c in text
    )
