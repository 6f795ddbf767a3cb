"""Text in the places of a job script: a word of the shell, a directive of sbatch, a comment; pure, runs anywhere."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
import shlex

_VARIABLE = r"\$(?:[A-Za-z_][A-Za-z0-9_]*|\{[A-Za-z_][A-Za-z0-9_]*\})"
_PLAIN = re.compile(r"[\w./,:=%@+~^-]+", re.ASCII)


def word(text: str) -> str:
    """A word that the shell hands on unchanged."""
    return shlex.quote(text)


def expanding(text: str) -> str:
    """A word in which the shell puts values for variables, as `$USER`, and nothing else."""
    parts = re.split(f"({_VARIABLE})", text)
    if len(parts) == 1:
        return word(text)
    # Every second part is a variable.
    kept = [
        part if place % 2 else re.sub(r'([\\"`$])', r"\\\1", part)
        for place, part in enumerate(parts)
    ]
    return f'"{"".join(kept)}"'


def directive(option: str, value: str | None = None) -> str:
    """`#SBATCH --option=value`. sbatch knows double quotes, and a backslash in them."""
    if value is None:
        return f"#SBATCH --{option}"
    if not _PLAIN.fullmatch(value):
        value = '"' + re.sub(r'([\\"])', r"\\\1", value) + '"'
    return f"#SBATCH --{option}={value}"


def comment(text: str) -> str:
    """One line that stays a comment, whatever stands in it."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "replace").decode()
        for c in text
    )
