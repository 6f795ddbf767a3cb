"""Parses options of sbatch, srun and apptainer as getopt_long does."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from jaxsif.lint.words import Word, number

NEVER, MAYBE, ALWAYS = "never", "maybe", "always"  # whether an option has a value


@dataclass(frozen=True)
class Table:
    """The options of a program.

    `long` says of each whether it has a value; `short` and `other_names` lead to the
    long name. An abbreviation is as good as a name, where no other begins like it.
    """

    long: dict[str, str]
    short: dict[str, str]
    other_names: dict[str, str]

    def names(self, written: str) -> list[str]:
        """The long names that a written option, without dashes, can abbreviate."""
        if written in self.other_names:
            return [self.other_names[written]]
        if written in self.long:
            return [written]
        return [name for name in self.long if name.startswith(written)]


def table(
    *, always: str, maybe: str = "", never: str = "", short: str, other_names: str = ""
) -> Table:
    """From names with blanks between; `short` and `other_names` as `n=ntasks`."""
    needs = {ALWAYS: always, MAYBE: maybe, NEVER: never}
    return Table(
        {name: need for need, names in needs.items() for name in names.split()},
        dict(pair.split("=") for pair in short.split()),
        dict(pair.split("=") for pair in other_names.split()),
    )


@dataclass(frozen=True)
class Option:
    """An option as written; `name` is its long name, "" if it is unknown."""

    name: str
    written: str
    line: int
    value: Word | None = None
    fault: str = ""  # why the program refuses it: unknown, ambiguous, no value


@dataclass(frozen=True)
class Options:
    """The options of a command line before its first other argument.

    `unclear` are unknown variables, which may hold more of them, or nothing.
    """

    given: tuple[Option, ...] = ()
    rest: tuple[Word, ...] = ()
    unclear: tuple[Word, ...] = ()

    @property
    def is_open(self) -> bool:
        return bool(self.unclear)

    def last(self, *names: str) -> Option | None:
        """The effective one, of several."""
        found = [option for option in self.given if option.name in names]
        return found[-1] if found else None

    def has(self, *names: str) -> bool:
        return self.last(*names) is not None

    def text(self, name: str) -> str | None:
        """Its value, if known."""
        option = self.last(name)
        value = option.value if option else None
        return value.text if value and value.is_known else None

    def number(self, name: str) -> int | None:
        return number(self.text(name))


NO_OPTIONS = Options()


def read(words: Sequence[Word], known: Table) -> Options:
    """Parse options until the first other argument."""
    waiting = list(words)
    given: list[Option] = []
    unclear: list[Word] = []
    while waiting:
        word = waiting[0]
        if word.is_open and word.text.startswith(("$", "`")):
            # It may be empty, or hold options, or begin the program.
            unclear.append(waiting.pop(0))
        elif word.text == "--":
            del waiting[0]
            break
        elif not word.text.startswith("-") or word.text == "-":
            break
        else:
            del waiting[0]
            given += _take(word, waiting, known)
    return Options(tuple(given), tuple(waiting), tuple(unclear))


def _take(word: Word, waiting: list[Word], known: Table) -> Iterator[Option]:
    if word.text.startswith("--"):
        yield _long(word, waiting, known)
    else:
        yield from _short(word, waiting, known)


def _long(word: Word, waiting: list[Word], known: Table) -> Option:
    written, has_value, text = word.text.partition("=")
    option = Option("", written, word.line)
    names = known.names(written[2:])
    if len(names) != 1:
        return replace(option, fault="ambiguous" if names else "unknown")
    option = replace(option, name=names[0])
    need = known.long[names[0]]
    if has_value:
        value = replace(word, text=text, is_open=False)
        return replace(option, value=value)
    if need != ALWAYS:
        return option
    return _with_next(option, waiting)


def _short(word: Word, waiting: list[Word], known: Table) -> Iterator[Option]:
    letters = word.text[1:]
    while letters:
        letter, letters = letters[0], letters[1:]
        option = Option(known.short.get(letter, ""), f"-{letter}", word.line)
        need = known.long.get(option.name, NEVER)
        if not option.name:
            yield replace(option, fault="unknown")
            return
        if need != NEVER and letters:
            yield replace(option, value=replace(word, text=letters, is_open=False))
            return
        if need == ALWAYS:
            yield _with_next(option, waiting)
            return
        yield option


def _with_next(option: Option, waiting: list[Word]) -> Option:
    if not waiting:
        return replace(option, fault="no value")
    return replace(option, value=waiting.pop(0))
