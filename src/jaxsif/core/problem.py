"""A problem of a node or of a rank's start."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """A problem: its kind (explained in docs), the value found, and a remedy.

    `is_fatal`: a program cannot work with it; otherwise it may work, slowly or by luck. A
    diagnostic treats both as failures. `ranks` are the affected ranks, if different from
    the reporting one.
    """

    kind: str
    text: str
    remedy: str
    is_fatal: bool = True
    ranks: tuple[int, ...] = ()
