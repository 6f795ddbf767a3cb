"""A shell's modes, and what `set` makes of them; runs anywhere."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

_LETTERS = {"e": "errexit", "u": "nounset", "a": "allexport"}


@dataclass(frozen=True)
class Modes:
    """What `set` and the shebang have switched on."""

    errexit: bool = False
    nounset: bool = False
    pipefail: bool = False
    allexport: bool = False


NO_MODES = Modes()


def set_modes(modes: Modes, words: Sequence[str]) -> Modes:
    """What `set` makes of the modes; also a shebang's own words."""
    changes: dict[str, bool] = {}
    waiting = iter(words)
    for word in waiting:
        if word[:1] not in ("-", "+") or word.startswith("--"):
            break
        is_on = word.startswith("-")
        for letter in word[1:]:
            name = next(waiting, "") if letter == "o" else _LETTERS.get(letter, "")
            if hasattr(modes, name):
                changes[name] = is_on
    return replace(modes, **changes)
