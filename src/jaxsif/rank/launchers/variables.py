"""Read numbers from launchers' variables."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Iterable, Mapping

from jaxsif.core.errors import UsageError


def number(environment: Mapping[str, str], name: str, starter: str) -> int:
    """A variable's value. `starter` is the program that sets it for every rank.

    Raises UsageError when it is not a number.
    """
    value = environment.get(name)
    if value is None or not value.isdecimal():
        raise UsageError(
            f"{name} is {value!r}, expected a number; start the program with {starter},"
            " which sets it for every rank"
        )
    return int(value)


def first_set(environment: Mapping[str, str], names: Iterable[str]) -> str | None:
    """The first of several variables that is there and not empty."""
    return next((name for name in names if environment.get(name)), None)
