"""The #SBATCH lines of a script, parsed by Slurm's rules (tested on sbatch 26.05)."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from jaxsif.lint.options import NO_OPTIONS, Option, Options, read
from jaxsif.lint.tables import SBATCH
from jaxsif.lint.words import Word

_MAGIC = "#SBATCH"
# Misspelled directives, which Slurm ignores as comments.
_NEARLY = re.compile(r"\s*#+\s*(S[BATCH]{4,6}|sbatch|Sbatch|#SBATCH)\b(?=\s+--?\w)")
# `#SBATCH hetjob` begins the next part of a heterogeneous job.
_PARTS = ("hetjob", "packjob")


@dataclass(frozen=True)
class Directives:
    """The options of a script for sbatch.

    `strays` are words that sbatch refuses; `late` the lines of directives behind the
    first command, which Slurm ignores; `comments` those that only look like one.
    """

    options: Options = NO_OPTIONS
    strays: tuple[Word, ...] = ()
    late: tuple[int, ...] = ()
    comments: tuple[int, ...] = ()
    first_command: int | None = None
    is_heterogeneous: bool = False

    def line_of(self, *names: str) -> int | None:
        """The line of an option."""
        option = self.options.last(*names)
        return option.line if option else None


def read_directives(lines: Sequence[str]) -> Directives:
    """Parse the directives of a script."""
    given: list[Option] = []
    strays: list[Word] = []
    late: list[int] = []
    comments: list[int] = []
    first_command = None
    is_heterogeneous = False
    for number, line in enumerate(lines, start=1):
        if line.startswith(_MAGIC):
            if first_command is not None:
                late.append(number)
                continue
            words = split(line[len(_MAGIC) :], number)
            if words and words[0].text in _PARTS:
                is_heterogeneous = True
            else:
                _take(words, given, strays)
        elif line.strip() and not line.lstrip().startswith("#"):
            first_command = first_command or number
        elif first_command is None and _is_nearly(line):
            comments.append(number)
    return Directives(
        Options(tuple(given)),
        tuple(strays),
        tuple(late),
        tuple(comments),
        first_command,
        is_heterogeneous,
    )


def _take(words: list[Word], given: list[Option], strays: list[Word]) -> None:
    """Slurm uses getopt_long, which continues after arguments that are not options."""
    while words:
        options = read(words, SBATCH)
        given += options.given
        strays += options.rest[:1]
        words = list(options.rest[1:])


def _is_nearly(line: str) -> bool:
    found = _NEARLY.match(line)
    # `##SBATCH` is the usual way to disable a directive.
    return found is not None and not line.lstrip().startswith("##")


def split(text: str, line: int) -> list[Word]:
    """Split a line as Slurm does: quotes, backslashes, `#` begins a comment."""
    words: list[Word] = []
    current: str | None = None
    quote = ""
    is_escaped = False
    for character in text:
        if is_escaped:
            current, is_escaped = (current or "") + character, False
        elif character == "\\":
            is_escaped = True
        elif quote and character == quote:
            quote = ""
        elif not quote and character in "'\"":
            quote, current = character, current or ""
        elif quote:
            current = (current or "") + character
        elif character == "#":
            break
        elif character.isspace():
            words += [Word(current, line)] if current is not None else []
            current = None
        else:
            current = (current or "") + character
    return [*words, Word(current, line)] if current is not None else words
