"""Expands syntax nodes into words as the shell does, and tracks the variables."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import TYPE_CHECKING

from jaxsif.lint.model import Command, Place, Setting, Word, number

if TYPE_CHECKING:
    from tree_sitter import Node


_MAX_GLIMPSE = 1 << 16


def source(node: Node) -> str:
    """The source text of the node."""
    return (node.text or b"").decode(errors="replace")


def glimpse(node: Node) -> str:
    """The text, truncated, because nested nodes repeat it at every depth."""
    return source(node)[:_MAX_GLIMPSE]


def line_of(node: Node) -> int:
    return node.start_point[0] + 1


def torn(node: Node) -> int:
    """The line where an error begins: the bracket or quote that is never closed."""
    opened = [c for c in node.children if not c.is_named and c.type not in (";", "&")]
    return line_of(opened[0] if opened else node)


def statements_of_branch(node: Node) -> list[Node]:
    """The statements of a branch, or the items of a case, without its patterns."""
    if node.type == "case_statement":
        return [child for child in node.children if child.type == "case_item"]
    if node.type == "else_clause":
        return node.children
    types = [child.type for child in node.children]
    return node.children[types.index(")") + 1 :] if ")" in types else []


# Longer values, for example of a variable that is doubled repeatedly, are unknown.
_MAX_VALUE_LEN = 4096
_MAX_VALUE_WORDS = 1024

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
            len(held) > _MAX_VALUE_WORDS or sum(map(len, held)) > _MAX_VALUE_LEN
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


_ESCAPED = re.compile(r"\\(?:\n|(.))", re.DOTALL)
_ESCAPED_IN_STRING = re.compile(r"\\(?:\n|([\"\\$`]))")
# Longer words are truncated and count as unknown.
_LONGEST = 1 << 16
_NAMES = re.compile(r"\$\{?([A-Za-z_]\w*)")


@dataclass(frozen=True)
class _Piece:
    """A part of a word. Several fields begin new words between them."""

    fields: tuple[str, ...]
    is_known: bool = True
    is_open: bool = False
    names: frozenset[str] = frozenset()


def expand(node: Node, scope: Scope) -> list[Word]:
    """The words into which a node expands."""
    words: list[Word] = []
    current: list[_Piece] = []
    line = line_of(node)
    for piece in _pieces(node, scope, is_quoted=False):
        head, *tail = piece.fields or ("",)
        if piece.fields:
            current.append(_cut(piece, head))
        for field in tail:
            words += _joined(current, line)
            current = [_cut(piece, field)]
    return words + _joined(current, line)


def expand_one(node: Node, scope: Scope) -> Word:
    """The same without word splitting: after `name=`."""
    pieces = _pieces(node, scope, is_quoted=True)
    whole = [_cut(piece, " ".join(piece.fields)) for piece in pieces]
    joined = _joined(whole, line_of(node))
    return joined[0] if joined else Word("", line_of(node))


def _cut(piece: _Piece, field: str) -> _Piece:
    return _Piece((field,), piece.is_known, piece.is_open, piece.names)


def _joined(pieces: list[_Piece], line: int) -> list[Word]:
    if not pieces:
        return []
    text = "".join(islice(chain.from_iterable(p.fields[0] for p in pieces), _LONGEST))
    return [
        Word(
            text,
            line,
            len(text) < _LONGEST and all(piece.is_known for piece in pieces),
            any(piece.is_open for piece in pieces),
            frozenset().union(*(piece.names for piece in pieces)),
        )
    ]


def _pieces(node: Node, scope: Scope, *, is_quoted: bool) -> list[_Piece]:
    kind = node.type
    if kind in ("word", "number", "variable_name", "special_variable_name", "regex"):
        return [_Piece((_ESCAPED.sub(r"\1", source(node)),))]
    if kind == "raw_string":
        return [_Piece((source(node)[1:-1],))]
    if kind == "string":
        return _inside_quotes(node, scope)
    if kind in ("command_name", "concatenation"):
        return [
            piece
            for child in node.children
            for piece in _pieces(child, scope, is_quoted=is_quoted)
        ]
    if kind in ("simple_expansion", "expansion"):
        return [_variable(node, scope, is_quoted=is_quoted)]
    if kind == "arithmetic_expansion":
        return [_arithmetic(node, scope)]
    if kind == "command_substitution":
        return [_unknown(node, is_open=not is_quoted)]
    return [_unknown(node, is_open=False)]


def _inside_quotes(node: Node, scope: Scope) -> list[_Piece]:
    """The text between double quotes, with the spaces that the grammar omits."""
    pieces = [_Piece(("",))]
    position = node.start_byte + 1
    for child in node.named_children:
        if child.type != "string_content":
            raw = child.text or b""
            blanks = len(raw) - len(raw.lstrip())
            pieces += [
                _literal(node, position, child.start_byte + blanks),
                *_pieces(child, scope, is_quoted=True),
            ]
            position = child.end_byte
    return [*pieces, _literal(node, position, node.end_byte - 1)]


def _literal(string: Node, start: int, end: int) -> _Piece:
    offset = string.start_byte
    raw = (string.text or b"")[start - offset : max(end, start) - offset]
    text = raw.decode(errors="replace")
    return _Piece((_ESCAPED_IN_STRING.sub(r"\1", text),))


def _unknown(node: Node, *, is_open: bool) -> _Piece:
    text = source(node).lstrip()
    return _Piece((text,), False, is_open, frozenset(_NAMES.findall(text)))


def _variable(node: Node, scope: Scope, *, is_quoted: bool) -> _Piece:
    """`$NAME`, `${NAME}`, `${NAME[@]}`, `${NAME:-word}`, `${NAME:?text}`."""
    name, is_array, operator = _reference(node)
    held = scope.get(name) if operator in ("", ":?", "?", ":-", "-") else None
    if held is None:
        return _unknown(node, is_open=not is_quoted)
    names = frozenset((name,))
    if is_array and is_quoted:
        return _Piece(held, names=names)
    if is_quoted:
        return _Piece((held[0] if held else "",), names=names)
    words = held if is_array else held[:1]
    return _Piece(tuple(" ".join(words).split()), names=names)


def _reference(node: Node) -> tuple[str, bool, str]:
    """The name, whether it means a whole array, and the operator."""
    marks = ("$", "${", "}")
    inside = [child for child in node.children if source(child).strip() not in marks]
    if not inside:
        return "", False, "#"
    first, *others = inside
    if first.type == "subscript":
        name, _, index = source(first).partition("[")
        if index not in ("@]", "*]"):
            return name, False, "["
    elif first.type == "variable_name":
        name, index = source(first), ""
    else:
        return source(first), False, source(first)
    return name, bool(index), source(others[0]) if others else ""


def _arithmetic(node: Node, scope: Scope) -> _Piece:
    inside = node.named_children
    value = _value(inside[0], scope) if len(inside) == 1 else None
    if value is None:
        return _Piece(
            (source(node),),
            False,
            names=frozenset(re.findall(r"[A-Za-z_]\w*", source(node))),
        )
    return _Piece((str(value),))


def _value(node: Node, scope: Scope, depth: int = 0) -> int | None:
    """The value of `2 * SLURM_NNODES`."""
    if depth > 20:
        return None
    if node.type in ("number", "word"):
        return number(source(node)) if source(node).isdigit() else _held(node, scope)
    if node.type in ("variable_name", "simple_expansion", "expansion"):
        return _held(node, scope)
    if node.type == "parenthesized_expression" and len(node.named_children) == 1:
        return _value(node.named_children[0], scope, depth + 1)
    if node.type == "binary_expression" and len(node.children) == 3:
        left, operator, right = node.children
        return _calculate(
            _value(left, scope, depth + 1),
            source(operator),
            _value(right, scope, depth + 1),
        )
    return None


def _held(node: Node, scope: Scope) -> int | None:
    held = scope.get(source(node).strip("${}"))
    return number(held[0]) if held else None


def _calculate(left: int | None, operator: str, right: int | None) -> int | None:
    if left is None or right is None or max(left, right) > 10**9:
        return None
    if operator == "*":
        return left * right
    if operator == "+":
        return left + right
    if operator == "-":
        return left - right
    if operator in "/%" and right:
        return left // right if operator == "/" else left % right
    return None


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
