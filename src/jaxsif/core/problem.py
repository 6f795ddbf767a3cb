"""Something that is wrong with a node or a start, in words and with a name; runs anywhere."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: its kind (explained in docs), what was got, what to do.

    `is_fatal` says whether a program cannot work with it; otherwise it may work, slowly
    or by luck. A diagnostic takes both for failures. `ranks` are those that it is about,
    where that is not the one that tells it.
    """

    kind: str
    text: str
    remedy: str
    is_fatal: bool = True
    ranks: tuple[int, ...] = ()
