"""The parts of a shell script: words, shell options, assignments, commands."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, auto


@dataclass(frozen=True)
class Word:
    """One word of a command after expansion; unknown parts are as written: `$NAME`.

    Attributes:
      text: the word.
      line: its line in the script, from 1.
      is_literal: whether all of the text is known.
      may_split: whether it may become several words, or none: an unknown variable
        without quotes.
      names: the variables that were expanded in it.
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
    """Return the text as a number; None if it is not one, or unknown."""
    if text is None or not (text.isascii() and text.isdigit()) or len(text) > 9:
        return None
    return int(text)


@dataclass(frozen=True)
class ShellOptions:
    """The options enabled by `set` and the shebang."""

    errexit: bool = False
    nounset: bool = False
    pipefail: bool = False
    allexport: bool = False


DEFAULT_OPTIONS = ShellOptions()
_OPTION_LETTERS = {"e": "errexit", "u": "nounset", "a": "allexport"}


def apply_set(options: ShellOptions, args: Sequence[str]) -> ShellOptions:
    """Apply the arguments of `set`, or of a shebang."""
    changes: dict[str, bool] = {}
    remaining = iter(args)
    for arg in remaining:
        if arg[:1] not in ("-", "+") or arg.startswith("--"):
            break
        for letter in arg[1:]:
            is_name_next = letter == "o"
            name = next(remaining, "") if is_name_next else _OPTION_LETTERS.get(letter)
            if name and hasattr(options, name):
                changes[name] = arg.startswith("-")
    return replace(options, **changes)


class StatusUse(Enum):
    """How the exit status of a command is used."""

    COUNTS = auto()  # as that of its statement
    CONDITION = auto()  # of if or while
    OR_ELSE = auto()  # on the left of ||
    NEGATED = auto()  # by !
    PIPED = auto()  # discarded, since the pipe has the status of its last command
    CAPTURED = auto()  # in $(...)


@dataclass(frozen=True)
class NextStatement:
    """The statement that runs next, possibly in the next iteration of the loop."""

    line: int
    text: str
    is_next_iteration: bool = False


@dataclass(frozen=True)
class CommandContext:
    """Where a command is in the script.

    Attributes:
      status_use: how its exit status is used.
      status_user: the text that uses it: the body of `if`, the right side of `||`, the
        reader of the pipe.
      next_statement: the statement that runs next, if there is one.
      loop: the line of the innermost loop around it.
      is_background: whether `&` follows.
      is_conditional: whether it may not run.
      is_function: whether it is part of a function.
    """

    status_use: StatusUse = StatusUse.COUNTS
    status_user: str = ""
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

    @property
    def text(self) -> str:
        """The value as text; "" if the variable is unset."""
        return self.value.text if self.value else ""


@dataclass(frozen=True)
class Heredoc:
    """A here-document, whose text begins in `line`."""

    text: str
    line: int


@dataclass(frozen=True)
class Command:
    """One simple command.

    Attributes:
      line: the line of its first word, from 1.
      args: its words, with its name.
      assignments: those before its name, as in `A=1 command`.
      context: where it is in the script.
      shell_options: the options in effect when it runs.
      heredoc: its here-document.
      order: the number of the script's assignments before it.
    """

    line: int
    args: tuple[Word, ...]
    assignments: tuple[Assignment, ...] = ()
    context: CommandContext = field(default_factory=CommandContext)
    shell_options: ShellOptions = DEFAULT_OPTIONS
    heredoc: Heredoc | None = None
    order: int = 0

    @property
    def name(self) -> str:
        return self.args[0].base if self.args else ""
