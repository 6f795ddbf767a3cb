"""Shell options such as errexit, and how `set` changes them."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

_LETTERS = {"e": "errexit", "u": "nounset", "a": "allexport"}


@dataclass(frozen=True)
class ShellOptions:
    """The options enabled by `set` and the shebang."""

    errexit: bool = False
    nounset: bool = False
    pipefail: bool = False
    allexport: bool = False


DEFAULT_OPTIONS = ShellOptions()


def apply_set(modes: ShellOptions, args: Sequence[str]) -> ShellOptions:
    """Apply the arguments of `set`, or of a shebang."""
    changes: dict[str, bool] = {}
    waiting = iter(args)
    for word in waiting:
        if word[:1] not in ("-", "+") or word.startswith("--"):
            break
        is_on = word.startswith("-")
        for letter in word[1:]:
            name = next(waiting, "") if letter == "o" else _LETTERS.get(letter, "")
            if hasattr(modes, name):
                changes[name] = is_on
    return replace(modes, **changes)
