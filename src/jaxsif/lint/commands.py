"""The commands of a script as values: their words, where they stand, and what becomes of their status; runs anywhere."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from jaxsif.lint.modes import NO_MODES, Modes
from jaxsif.lint.words import Word


class StatusUse(Enum):
    """What becomes of a command's exit status."""

    COUNTS = "it is that of the statement"
    TESTED = "if, while or || looks at it"
    NEGATED = "! turns it round"
    PIPED = "the pipe's last command has the say"
    CAPTURED = "it ends a $(...)"


@dataclass(frozen=True)
class NextStatement:
    """The statement that runs next; `is_again` where it is the loop's next turn."""

    line: int
    text: str
    is_again: bool = False


@dataclass(frozen=True)
class Place:
    """Where a command stands. `loop` is the line of the innermost loop around it."""

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
    """A variable that gets a value, or with `value` None loses it."""

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
    modes: Modes = NO_MODES
    heredoc: str = ""
    heredoc_line: int = 0
    order: int = 0  # among commands and settings, as they are read

    @property
    def name(self) -> str:
        return self.words[0].base if self.words else ""
