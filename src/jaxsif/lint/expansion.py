"""Expands words as the shell does, and tracks the variables of a script."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import operator
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import chain, islice
from typing import TYPE_CHECKING

from jaxsif.lint.model import Assignment, Command, CommandContext, Word, number

if TYPE_CHECKING:
    from tree_sitter import Node

# Longer words are truncated and count as unknown.
_MAX_WORD_LEN = 1 << 16
# Longer values, for example of a variable that is doubled repeatedly, are unknown.
_MAX_VALUE_LEN = 4096
_MAX_VALUE_WORDS = 1024
_MAX_ARITHMETIC_DEPTH = 20

_ESCAPED_RE = re.compile(r"\\(?:\n|(.))", re.DOTALL)
_ESCAPED_IN_QUOTES_RE = re.compile(r"\\(?:\n|([\"\\$`]))")
_SINGLE_QUOTED_RE = re.compile(r"'[^']*+'")
_EXPANDED_NAME_RE = re.compile(r"\$\{?([A-Za-z_]\w*)")
_NAME_RE = re.compile(r"[A-Za-z_]\w*")
_ASSIGNED_NAME_RE = re.compile(r"(?<!\w)([A-Za-z_]\w*)(?:\+\+|--|[-+*]?=)")

_LITERALS = ("word", "number", "variable_name", "special_variable_name", "regex")
_EXPANSIONS = ("simple_expansion", "expansion")
# Operators of ${NAME...} that leave a known value unchanged.
_KEEPING_OPERATORS = ("", ":?", "?", ":-", "-")
_ARITHMETIC = {
    "*": operator.mul,
    "+": operator.add,
    "-": operator.sub,
    "/": operator.floordiv,
    "%": operator.mod,
}
_ASSIGNING_BUILTINS = ("read", "mapfile", "readarray", "getopts", "let")

# The words of a variable: one, or those of an array. None: unknown.
Values = tuple[str, ...] | None


def text_of(node: Node) -> str:
    """Return the source text of the node."""
    return (node.text or b"").decode(errors="replace")


def line_of(node: Node) -> int:
    """Return the line in which the node begins, from 1."""
    return node.start_point[0] + 1


class Variables:
    """The variables of a script while it is read, and all assignments in order."""

    def __init__(self, known: Mapping[str, str]) -> None:
        self._values: dict[str, Values] = {
            name: (text,) for name, text in known.items()
        }
        self._exported: set[str] = set()
        self.assignments: list[Assignment] = []
        self.exports_all = False

    def get(self, name: str) -> Values:
        """Return the words of a variable; None if they are unknown."""
        return self._values.get(name)

    def assign(
        self, node: Node, context: CommandContext, *, is_exported: bool = False
    ) -> str:
        """Process `NAME=value`, and return the name."""
        assignment, values = self._read(node, context)
        name = assignment.name
        is_appending = any(child.type == "+=" for child in node.children)
        if is_appending:
            before = self._values.get(name, ())
            values = (
                (*before, *values)
                if before is not None and values is not None
                else None
            )
        is_certain = assignment.is_unconditional and context.loop is None
        if not is_certain and (is_appending or self._values.get(name) != values):
            values = None
        if values is not None and (
            len(values) > _MAX_VALUE_WORDS or sum(map(len, values)) > _MAX_VALUE_LEN
        ):
            values = None
        self._values[name] = values
        is_exported = is_exported or self.exports_all or name in self._exported
        self.assignments.append(replace(assignment, is_exported=is_exported))
        return name

    def prefix(self, node: Node, context: CommandContext) -> Assignment:
        """Return the assignment of `NAME=value command`, for this command only."""
        assignment, _ = self._read(node, context)
        return replace(assignment, is_exported=True)

    def _read(self, node: Node, context: CommandContext) -> tuple[Assignment, Values]:
        name = node.named_children[0] if node.named_children else node
        words = self._expand_value(node.child_by_field_name("value"))
        is_known = all(word.is_literal for word in words)
        values = tuple(word.text for word in words) if is_known else None
        line = line_of(node)
        # An array cannot be exported to a program.
        value = words[0] if len(words) == 1 else Word("", line, not words)
        key = text_of(name).partition("[")[0]
        return Assignment(key, line, value, False, not context.is_conditional), values

    def _expand_value(self, value: Node | None) -> list[Word]:
        if value is None:
            return []
        if value.type != "array":
            return [expand_one(value, self)]
        return [word for child in value.named_children for word in expand(child, self)]

    def declare(self, node: Node, context: CommandContext) -> None:
        """Process `export`, `declare`, `local`, `readonly`, `unset` and their names."""
        builtin = node.children[0].type if node.children else ""
        flags = [text_of(c) for c in node.named_children if text_of(c).startswith("-")]
        is_exported = builtin == "export" or any("x" in flag for flag in flags)
        for child in node.named_children:
            if child.type == "variable_assignment":
                name = self.assign(child, context, is_exported=is_exported)
            elif child.type in ("variable_name", "word") and (
                text_of(child) not in flags
            ):
                name = text_of(child)
                if builtin.startswith("unset"):
                    self.forget([name])
                    self._record(name, child, context, None)
                elif is_exported:
                    values = self.get(name)
                    text = values[0] if values else f"${name}"
                    value = Word(text, line_of(child), bool(values))
                    self._record(name, child, context, value)
            else:
                continue
            if is_exported:
                self._exported.add(name)

    def _record(
        self, name: str, node: Node, context: CommandContext, value: Word | None
    ) -> None:
        is_unconditional = not context.is_conditional
        self.assignments.append(
            Assignment(name, line_of(node), value, True, is_unconditional)
        )

    def forget(self, names: Iterable[str]) -> None:
        """Make variables unknown."""
        for name in names:
            self._values[name] = None

    def enter_loop(self, loop: Node) -> None:
        """Make the variables unknown that the loop changes."""
        self.forget(_ASSIGNED_NAME_RE.findall(text_of(loop)))
        self.forget(
            text_of(child)
            for child in loop.named_children
            if child.type == "variable_name"
        )

    def apply(self, command: Command) -> None:
        """Make the variables unknown that a builtin such as `read` assigns."""
        if command.name in _ASSIGNING_BUILTINS:
            self.forget(word.text for word in command.args[1:])


def expand(node: Node, variables: Variables) -> list[Word]:
    """Return the words into which a node expands."""
    words: list[Word] = []
    current: list[Word] = []
    for part in _parts(node, variables, is_quoted=False):
        current += part[:1]
        for word in part[1:]:
            words.append(_join(current, node))
            current = [word]
    return [*words, _join(current, node)] if current else words


def expand_one(node: Node, variables: Variables) -> Word:
    """Return the word into which a node expands without splitting: after `name=`."""
    parts = [part for part in _parts(node, variables, is_quoted=True) if part]
    texts = (" ".join(word.text for word in part) for part in parts)
    whole = [replace(part[0], text=t) for part, t in zip(parts, texts, strict=True)]
    return _join(whole, node)


def _join(parts: list[Word], node: Node) -> Word:
    characters = chain.from_iterable(part.text for part in parts)
    text = "".join(islice(characters, _MAX_WORD_LEN))
    return Word(
        text,
        line_of(node),
        len(text) < _MAX_WORD_LEN and all(part.is_literal for part in parts),
        any(part.may_split for part in parts),
        frozenset().union(*(part.names for part in parts)),
    )


def _parts(node: Node, variables: Variables, *, is_quoted: bool) -> list[list[Word]]:
    """Return the parts of a word; a part of several words is split between them."""
    kind = node.type
    if kind in _LITERALS:
        return [[Word(_ESCAPED_RE.sub(r"\1", text_of(node)), line_of(node))]]
    if kind == "raw_string":
        return [[Word(text_of(node)[1:-1], line_of(node))]]
    if kind == "string":
        return _quoted_parts(node, variables)
    if kind in ("command_name", "concatenation"):
        return [
            part
            for child in node.children
            for part in _parts(child, variables, is_quoted=is_quoted)
        ]
    if kind in _EXPANSIONS:
        return [_expand_variable(node, variables, is_quoted=is_quoted)]
    if kind == "arithmetic_expansion":
        return [[_expand_arithmetic(node, variables)]]
    may_split = kind == "command_substitution" and not is_quoted
    return [[_unknown(node, may_split=may_split)]]


def _quoted_parts(node: Node, variables: Variables) -> list[list[Word]]:
    """Return the parts between double quotes, with spaces that the grammar omits."""
    parts = [[Word("", line_of(node))]]
    position = node.start_byte + 1
    for child in node.named_children:
        if child.type != "string_content":
            raw = child.text or b""
            blanks = len(raw) - len(raw.lstrip())
            parts += [
                [_quoted_literal(node, position, child.start_byte + blanks)],
                *_parts(child, variables, is_quoted=True),
            ]
            position = child.end_byte
    return [*parts, [_quoted_literal(node, position, node.end_byte - 1)]]


def _quoted_literal(string: Node, start: int, end: int) -> Word:
    offset = string.start_byte
    raw = (string.text or b"")[start - offset : max(end, start) - offset]
    text = raw.decode(errors="replace")
    return Word(_ESCAPED_IN_QUOTES_RE.sub(r"\1", text), line_of(string))


def _unknown(node: Node, *, may_split: bool) -> Word:
    text = text_of(node).lstrip()
    # Between single quotes it is another shell that expands them.
    names = frozenset(_EXPANDED_NAME_RE.findall(_SINGLE_QUOTED_RE.sub("", text)))
    return Word(text, line_of(node), False, may_split, names)


def _expand_variable(
    node: Node, variables: Variables, *, is_quoted: bool
) -> list[Word]:
    """Expand `$NAME`, `${NAME}`, `${NAME[@]}`, `${NAME:-word}`, `${NAME:?text}`."""
    name, is_array, operation = _reference(node)
    values = variables.get(name) if operation in _KEEPING_OPERATORS else None
    if values is None:
        return [_unknown(node, may_split=not is_quoted)]
    if not is_array:
        values = values[:1] or ("",)
    if not is_quoted:
        values = tuple(" ".join(values).split())
    return [Word(text, line_of(node), names=frozenset((name,))) for text in values]


def _reference(node: Node) -> tuple[str, bool, str]:
    """Return the name, whether it means a whole array, and the operator."""
    marks = ("$", "${", "}")
    inside = [child for child in node.children if text_of(child).strip() not in marks]
    if not inside:
        return "", False, "#"
    first, *others = inside
    if first.type == "subscript":
        name, _, index = text_of(first).partition("[")
        if index not in ("@]", "*]"):
            return name, False, "["
    elif first.type == "variable_name":
        name, index = text_of(first), ""
    else:
        return text_of(first), False, text_of(first)
    return name, bool(index), text_of(others[0]) if others else ""


def _expand_arithmetic(node: Node, variables: Variables) -> Word:
    inside = node.named_children
    value = _evaluate(inside[0], variables) if len(inside) == 1 else None
    if value is not None:
        return Word(str(value), line_of(node))
    text = text_of(node)
    names = frozenset(_NAME_RE.findall(text))
    return Word(text, line_of(node), is_literal=False, names=names)


def _evaluate(node: Node, variables: Variables, depth: int = 0) -> int | None:
    """Return the value of an expression such as `2 * SLURM_NNODES`, if it is known."""
    if depth > _MAX_ARITHMETIC_DEPTH:
        return None
    text = text_of(node)
    if node.type in ("number", "word", "variable_name", *_EXPANSIONS):
        if text.isdigit():
            return number(text)
        values = variables.get(text.strip("${}"))
        return number(values[0]) if values else None
    if node.type == "parenthesized_expression" and len(node.named_children) == 1:
        return _evaluate(node.named_children[0], variables, depth + 1)
    if node.type != "binary_expression" or len(node.children) != 3:
        return None
    left = _evaluate(node.children[0], variables, depth + 1)
    right = _evaluate(node.children[2], variables, depth + 1)
    sign = text_of(node.children[1])
    if left is None or right is None or max(left, right) > 10**9:
        return None
    if sign not in _ARITHMETIC or (sign in "/%" and not right):
        return None
    return int(_ARITHMETIC[sign](left, right))
