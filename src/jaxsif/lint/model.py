"""The parts of a shell script: words, shell options, assignments, commands."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

_UNKNOWN = re.compile(r"\$|`")


@dataclass(frozen=True)
class Word:
    """One word. Unknown parts of `text` are as written: `$NAME`.

    `is_open` says that it may turn out as several words, or as none: an unknown variable
    without quotes. `names` are the variables that the shell puts in here.
    """

    text: str
    line: int
    is_literal: bool = True
    may_split: bool = False
    names: frozenset[str] = frozenset()

    @property
    def base(self) -> str:
        """The last part of a path: `python` of `/usr/bin/python`."""
        return posixpath.basename(self.text)

    @property
    def number(self) -> int | None:
        """The word as a number, if it is one."""
        return number(self.text)


def number(text: str | None) -> int | None:
    """A number; None if it is not one, or unknown."""
    if text is None or not (text.isascii() and text.isdigit()) or len(text) > 9:
        return None
    return int(text)


def is_unknown(text: str) -> bool:
    """Whether a text contains an expansion of the shell."""
    return _UNKNOWN.search(text) is not None


_LETTERS = {"e": "errexit", "u": "nounset", "a": "allexport"}


@dataclass(frozen=True)
class ShellOptions:
    """The options enabled by `set` and the shebang."""

    errexit: bool = False
    nounset: bool = False
    pipefail: bool = False
    allexport: bool = False


DEFAULT_OPTIONS = ShellOptions()


def apply_set(shell_options: ShellOptions, args: Sequence[str]) -> ShellOptions:
    """Apply the arguments of `set`, or of a shebang."""
    changes: dict[str, bool] = {}
    waiting = iter(args)
    for word in waiting:
        if word[:1] not in ("-", "+") or word.startswith("--"):
            break
        is_on = word.startswith("-")
        for letter in word[1:]:
            name = next(waiting, "") if letter == "o" else _LETTERS.get(letter, "")
            if hasattr(shell_options, name):
                changes[name] = is_on
    return replace(shell_options, **changes)


class StatusUse(Enum):
    """How the exit status of a command is used."""

    COUNTS = "it is that of the statement"
    TESTED = "if, while or || looks at it"
    NEGATED = "! turns it round"
    PIPED = "the pipe's last command has the say"
    CAPTURED = "it ends a $(...)"


@dataclass(frozen=True)
class NextStatement:
    """The statement that runs next; `is_again` if it is the next iteration of the loop."""

    line: int
    text: str
    is_next_iteration: bool = False


@dataclass(frozen=True)
class CommandContext:
    """The context of a command. `loop` is the line of the innermost loop around it."""

    status_use: StatusUse = StatusUse.COUNTS
    or_else: str = ""  # behind ||
    if_body: str = ""  # what runs if the condition holds, of `if`
    pipe_reader: str = ""  # behind |
    next_statement: NextStatement | None = None
    loop: int | None = None
    is_background: bool = False
    is_conditional: bool = False
    is_function: bool = False


@dataclass(frozen=True)
class Assignment:
    """An assignment to a variable; `value` None means that it is unset."""

    name: str
    line: int
    value: Word | None
    is_exported: bool = False
    is_unconditional: bool = True


@dataclass(frozen=True)
class Command:
    """One simple command."""

    line: int
    last_line: int
    args: tuple[Word, ...]
    text: str
    assignments: tuple[Assignment, ...] = ()  # `A=1 command`
    context: CommandContext = field(default_factory=CommandContext)
    shell_options: ShellOptions = DEFAULT_OPTIONS
    heredoc: str = ""
    heredoc_line: int = 0
    order: int = 0  # among commands and settings, as they are read

    @property
    def name(self) -> str:
        return self.args[0].base if self.args else ""
