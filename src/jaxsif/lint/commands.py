"""The commands of a script: arguments, context, and the use of their exit status."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from jaxsif.lint.modes import DEFAULT_OPTIONS, ShellOptions
from jaxsif.lint.words import Word


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
    is_again: bool = False


@dataclass(frozen=True)
class Place:
    """The context of a command. `loop` is the line of the innermost loop around it."""

    fate: StatusUse = StatusUse.COUNTS
    otherwise: str = ""  # behind ||
    branch: str = ""  # what runs if the condition holds, of `if`
    reader: str = ""  # behind |
    follower: NextStatement | None = None
    loop: int | None = None
    is_background: bool = False
    is_conditional: bool = False
    is_function: bool = False


@dataclass(frozen=True)
class Setting:
    """An assignment to a variable; `value` None means that it is unset."""

    name: str
    line: int
    value: Word | None
    is_exported: bool = False
    is_certain: bool = True


@dataclass(frozen=True)
class Command:
    """One simple command."""

    line: int
    last_line: int
    words: tuple[Word, ...]
    text: str
    settings: tuple[Setting, ...] = ()  # `A=1 command`
    place: Place = field(default_factory=Place)
    modes: ShellOptions = DEFAULT_OPTIONS
    heredoc: str = ""
    heredoc_line: int = 0
    order: int = 0  # among commands and settings, as they are read

    @property
    def name(self) -> str:
        return self.words[0].base if self.words else ""
