"""The values of a script's variables, as far as they are known."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Iterable, Mapping

# Longer values, for example of a variable that is doubled repeatedly, are unknown.
_LONGEST = 4096
_MOST_WORDS = 1024

# The words of a variable: one, or those of an array. None: unknown.
Held = tuple[str, ...] | None


class Scope:
    """The variables at one place of a script, while it is read."""

    def __init__(self, known: Mapping[str, str]) -> None:
        self._held: dict[str, Held] = {name: (text,) for name, text in known.items()}
        self._exported: set[str] = set()

    def get(self, name: str) -> Held:
        return self._held.get(name)

    def knows_of(self, name: str) -> bool:
        """Whether the script has assigned it, even an unknown value."""
        return name in self._held

    def set(self, name: str, held: Held, *, is_certain: bool) -> None:
        """Set a value; after a conditional assignment it is unknown."""
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
