"""The file: shebang, line ends, syntax."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from collections.abc import Iterator

from jaxsif.lint.rule import ERROR, NOTE, Violation, rule
from jaxsif.lint.script import Script

_BLANK_BEHIND = re.compile(r"(?<!\\)\\[ \t]+$")
_BYTE_ORDER_MARK = "\ufeff"


@rule(
    "shebang",
    ERROR,
    fix="let the file begin with: #!/usr/bin/env bash",
    why="sbatch refuses a script that does not begin with `#!`: not a blank line, not a"
    " byte order mark may stand before it",
    source="tried with Slurm 26.05",
)
def shebang(script: Script) -> Iterator[Violation]:
    """The first line names no interpreter"""
    first = script.lines[0]
    if first.startswith("#!"):
        return
    if first.startswith(_BYTE_ORDER_MARK):
        yield Violation(1, "an invisible byte order mark is before the shebang")
        return
    late = [n for n, line in enumerate(script.lines, 1) if line.startswith("#!/")]
    where = f", it stands in line {late[0]}" if late else ""
    yield Violation(
        1, f"the first line is no shebang{where}; sbatch refuses the script"
    )


@rule(
    "line-ends",
    ERROR,
    fix="convert it: sed -i 's/\\r$//' FILE",
    why="sbatch refuses a script with DOS line breaks, and bash takes the carriage return"
    " for part of the last word",
    source="tried with Slurm 26.05",
)
def line_ends(script: Script) -> Iterator[Violation]:
    """The file has Windows line endings"""
    if script.dos_line is not None:
        yield Violation(
            script.dos_line, "the line ends with a carriage return and a newline"
        )


@rule(
    "continuation",
    ERROR,
    fix="let the backslash be the last character of its line, and put comments above",
    why="a backslash with a blank behind it continues nothing, and a comment in between"
    " ends the command: the words behind it are taken for another command",
    source="bash manual, escape character and comments",
)
def continuation(script: Script) -> Iterator[Violation]:
    """A command that goes on in the next line is cut off"""
    for line, text in enumerate(script.lines, start=1):
        above = script.lines[line - 2] if line > 1 else ""
        if text.lstrip().startswith("#"):
            goes_on = above.endswith("\\") and not above.lstrip().startswith("#")
            if goes_on and any(below.strip() for below in script.lines[line:][:1]):
                yield Violation(
                    line, f"this comment ends the command above: {text.strip()}"
                )
        elif script.is_shell and _BLANK_BEHIND.search(text):
            yield Violation(line, "behind the backslash stands a blank")


@rule(
    "unreadable",
    NOTE,
    fix="check it with: bash -n FILE",
    why="what cannot be read cannot be checked: behind a syntax error commands may be"
    " missed, and of another language than the shell's only the directives are read",
    source="the grammar tree-sitter-bash",
)
def unreadable(script: Script) -> Iterator[Violation]:
    """A part of the script could not be parsed"""
    if not script.is_shell:
        text = f"a script for {script.interpreter}: only its directives were checked"
        yield Violation(1, text, fix="nothing to do, if that is what you want")
    elif script.reading.unread is not None:
        text = "syntax error here; the rest may be checked only partly"
        yield Violation(script.reading.unread, text)


RULES = (shebang, line_ends, continuation, unreadable)
