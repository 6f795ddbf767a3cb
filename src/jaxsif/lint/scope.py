"""What a script's variables hold, as far as reading it from the top tells; runs anywhere."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Iterable, Mapping

# A longer value, as of a variable that is doubled again and again, is not known.
_LONGEST = 4096
_MOST_WORDS = 1024

# The words that a variable holds: one, or those of an array. None: nobody knows.
Held = tuple[str, ...] | None


class Scope:
    """The variables at one place of a script, while it is read."""

    def __init__(self, known: Mapping[str, str]) -> None:
        self._held: dict[str, Held] = {name: (text,) for name, text in known.items()}
        self._exported: set[str] = set()

    def get(self, name: str) -> Held:
        return self._held.get(name)

    def knows_of(self, name: str) -> bool:
        """Whether the script has given it a value, be that known or not."""
        return name in self._held

    def set(self, name: str, held: Held, *, is_certain: bool) -> None:
        """Takes down a value; one that is set on a condition leaves nothing certain."""
        if not is_certain and self._held.get(name) != held:
            held = None
        if held is not None and (
            len(held) > _MOST_WORDS or sum(map(len, held)) > _LONGEST
        ):
            held = None
        self._held[name] = held

    def append(self, name: str, held: Held, *, is_certain: bool) -> None:
        """`name+=(word word)`"""
        before = self._held.get(name, ())
        together = None if before is None or held is None else (*before, *held)
        self.set(name, together if is_certain else None, is_certain=True)

    def forget(self, names: Iterable[str]) -> None:
        for name in names:
            self._held[name] = None

    def export(self, name: str) -> None:
        self._exported.add(name)

    def is_exported(self, name: str) -> bool:
        return name in self._exported
