"""Strips wrappers before a program: `exec`, `env A=1`, `timeout 60`."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from jaxsif.lint import programs
from jaxsif.lint.commands import Setting
from jaxsif.lint.words import Word

_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)


def strip_wrappers(words: Sequence[Word]) -> tuple[list[Word], dict[str, Setting]]:
    """The words without `exec`, `env A=1`, `timeout 60`, and the variables these set."""
    waiting = list(words)
    variables: dict[str, Setting] = {}
    while waiting:
        name = waiting[0].base
        if name in programs.WRAPPERS and (start := _wrapped(waiting)):
            del waiting[:start]
        elif name in programs.PLAIN_WRAPPERS:
            del waiting[0]
            while waiting and waiting[0].text.startswith("-"):
                del waiting[0]
        elif name == "env":
            del waiting[0]
            _take_assignments(waiting, variables)
        else:
            break
    return waiting, variables


def _take_assignments(waiting: list[Word], variables: dict[str, Setting]) -> None:
    while waiting:
        word = waiting[0]
        found = _ASSIGNMENT.fullmatch(word.text)
        if word.text in ("-u", "--unset", "-C") and len(waiting) > 1:
            del waiting[0]
        elif found:
            variables[found[1]] = _setting(found[1], found[2], word)
        elif not word.text.startswith("-"):
            return
        del waiting[0]


def _setting(name: str, text: str, word: Word) -> Setting:
    return Setting(name, word.line, replace(word, text=text), is_exported=True)


def _wrapped(words: Sequence[Word]) -> int:
    """Where the wrapper's arguments end: at a program or a launcher."""
    launchers = ("srun", *programs.OTHER_LAUNCHERS)
    found = (i for i, word in enumerate(words) if word.base in launchers)
    program = first_of_interest(words)
    return min(filter(None, (next(found, 0), program)), default=0)


def first_of_interest(words: Sequence[Word]) -> int:
    found = (i for i, word in enumerate(words) if programs.is_of_interest(word))
    return next(found, 0)


def parse_assignment_list(word: Word) -> dict[str, Setting]:
    """The variables of `NAME=value,NAME=value`; other items are ignored."""
    found = map(_ASSIGNMENT.fullmatch, word.text.split(","))
    return {pair[1]: _setting(pair[1], pair[2], word) for pair in found if pair}
