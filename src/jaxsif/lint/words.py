"""A word of a command after expansion, as far as it is known."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass

_UNKNOWN = re.compile(r"\$|`")


@dataclass(frozen=True)
class Word:
    """One word. Unknown parts of `text` are as written: `$NAME`.

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
