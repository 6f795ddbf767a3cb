"""Tracks the variables of a script: their values, and which are exported."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from jaxsif.lint.commands import Command, Place, Setting
from jaxsif.lint.expansion import expand, expand_one
from jaxsif.lint.nodes import line_of, source
from jaxsif.lint.scope import Scope
from jaxsif.lint.words import Word

if TYPE_CHECKING:
    from tree_sitter import Node

_CHANGED = re.compile(r"(?<!\w)([A-Za-z_]\w*)(?:\+\+|--|[-+*]?=)")
_READERS = ("read", "mapfile", "readarray", "getopts", "let")


class VariableTracker:
    """The scope, and all assignments in order."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.settings: list[Setting] = []
        self.exports_all = False

    def assign(self, node: Node, place: Place, *, is_exported: bool = False) -> str:
        """`NAME=value`; returns the name."""
        setting, held = self._read(node, place)
        is_certain = setting.is_certain and place.loop is None
        if any(child.type == "+=" for child in node.children):
            self.scope.append(setting.name, held, is_certain=is_certain)
        else:
            self.scope.set(setting.name, held, is_certain=is_certain)
        was_exported = self.exports_all or self.scope.is_exported(setting.name)
        self.settings.append(replace(setting, is_exported=is_exported or was_exported))
        return setting.name

    def prefix(self, node: Node, place: Place) -> Setting:
        """`NAME=value command`, which applies to this command only."""
        setting, _ = self._read(node, place)
        return replace(setting, is_exported=True)

    def _read(self, node: Node, place: Place) -> tuple[Setting, tuple[str, ...] | None]:
        name = node.named_children[0] if node.named_children else node
        words = self._values(node.child_by_field_name("value"))
        held = tuple(w.text for w in words) if all(w.is_known for w in words) else None
        line = line_of(node)
        # An array cannot be exported to a program.
        value = words[0] if len(words) == 1 else Word("", line, not words)
        key = source(name).partition("[")[0]
        return Setting(key, line, value, False, not place.is_conditional), held

    def _values(self, value: Node | None) -> list[Word]:
        if value is None:
            return []
        if value.type != "array":
            return [expand_one(value, self.scope)]
        return [
            word for child in value.named_children for word in expand(child, self.scope)
        ]

    def declare(self, node: Node, place: Place) -> None:
        """`export`, `declare`, `local`, `readonly`, `unset` and their names."""
        kind = node.children[0].type if node.children else ""
        flags = [source(c) for c in node.named_children if source(c).startswith("-")]
        is_exported = kind == "export" or any("x" in flag for flag in flags)
        for child in node.named_children:
            if child.type == "variable_assignment":
                name = self.assign(child, place, is_exported=is_exported)
            elif child.type in ("variable_name", "word") and source(child) not in flags:
                name = source(child)
                self._mention(name, child, place, kind, is_exported)
            else:
                continue
            if is_exported:
                self.scope.export(name)

    def _mention(
        self, name: str, node: Node, place: Place, kind: str, is_exported: bool
    ) -> None:
        is_certain = not place.is_conditional
        line = line_of(node)
        if kind.startswith("unset"):
            self.scope.forget([name])
            self.settings.append(Setting(name, line, None, True, is_certain))
        elif is_exported:
            held = self.scope.get(name)
            value = Word(held[0] if held else f"${name}", line, bool(held))
            self.settings.append(Setting(name, line, value, True, is_certain))

    def enter_loop(self, node: Node) -> None:
        """Variables that a loop changes are unknown in the loop."""
        self.scope.forget(_CHANGED.findall(source(node)))
        self.scope.forget(
            source(child)
            for child in node.named_children
            if child.type == "variable_name"
        )

    def take_effect(self, command: Command) -> None:
        """The effect of other commands on variables."""
        if command.name in _READERS:
            self.scope.forget(word.text for word in command.words[1:])
