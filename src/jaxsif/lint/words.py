"""A word of a command as the shell hands it over, as far as that can be known beforehand; runs anywhere."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass

_UNKNOWN = re.compile(r"\$|`")


@dataclass(frozen=True)
class Word:
    """One word. What nobody can know stands in `text` as it was written: `$NAME`.

    `is_open` says that it may turn out as several words, or as none: an unknown variable
    without quotes. `names` are the variables that the shell puts in here.
    """

    text: str
    line: int
    is_known: bool = True
    is_open: bool = False
    names: frozenset[str] = frozenset()

    @property
    def base(self) -> str:
        """The last part of a path: `python` of `/usr/bin/python`."""
        return posixpath.basename(self.text)

    @property
    def number(self) -> int | None:
        """The word as a count, where it is one."""
        return number(self.text)


def number(text: str | None) -> int | None:
    """A count; None for anything else, also for what is not known."""
    if text is None or not (text.isascii() and text.isdigit()) or len(text) > 9:
        return None
    return int(text)


def is_unknown(text: str) -> bool:
    """Whether something in a text is still the shell's to fill in."""
    return _UNKNOWN.search(text) is not None
