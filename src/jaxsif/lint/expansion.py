"""Expands syntax nodes into words as the shell does, and tracks the variables."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import TYPE_CHECKING

from jaxsif.lint.model import Assignment, Command, CommandContext, Word, number

if TYPE_CHECKING:
    from tree_sitter import Node


_MAX_TEXT_LEN = 1 << 16


def text_of(node: Node) -> str:
    """The source text of the node."""
    return (node.text or b"").decode(errors="replace")


def truncated_text(node: Node) -> str:
    """The text, truncated, because nested nodes repeat it at every depth."""
    return text_of(node)[:_MAX_TEXT_LEN]


def line_of(node: Node) -> int:
    return node.start_point[0] + 1


def first_error_line(node: Node) -> int:
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
Values = tuple[str, ...] | None


class Scope:
    """The variables at one place of a script, while it is read."""

    def __init__(self, known: Mapping[str, str]) -> None:
        self._known_number: dict[str, Values] = {
            name: (text,) for name, text in known.items()
        }
        self._exported: set[str] = set()

    def get(self, name: str) -> Values:
        return self._known_number.get(name)

    def knows_of(self, name: str) -> bool:
        """Whether the script has assigned it, even an unknown value."""
        return name in self._known_number

    def set(self, name: str, values: Values, *, is_unconditional: bool) -> None:
        """Set a value; after a conditional assignment it is unknown."""
        if not is_unconditional and self._known_number.get(name) != values:
            values = None
        if values is not None and (
            len(values) > _MAX_VALUE_WORDS or sum(map(len, values)) > _MAX_VALUE_LEN
        ):
            values = None
        self._known_number[name] = values

    def append(self, name: str, values: Values, *, is_unconditional: bool) -> None:
        """`name+=(word word)`"""
        before = self._known_number.get(name, ())
        together = None if before is None or values is None else (*before, *values)
        self.set(name, together if is_unconditional else None, is_unconditional=True)

    def forget(self, names: Iterable[str]) -> None:
        for name in names:
            self._known_number[name] = None

    def export(self, name: str) -> None:
        self._exported.add(name)

    def is_exported(self, name: str) -> bool:
        return name in self._exported


_ESCAPED = re.compile(r"\\(?:\n|(.))", re.DOTALL)
_ESCAPED_IN_STRING = re.compile(r"\\(?:\n|([\"\\$`]))")
# Longer words are truncated and count as unknown.
_MAX_WORD_LEN = 1 << 16
_NAMES = re.compile(r"\$\{?([A-Za-z_]\w*)")


@dataclass(frozen=True)
class _WordPart:
    """A part of a word. Several fields begin new words between them."""

    fields: tuple[str, ...]
    is_literal: bool = True
    may_split: bool = False
    names: frozenset[str] = frozenset()


def expand(node: Node, scope: Scope) -> list[Word]:
    """The words into which a node expands."""
    args: list[Word] = []
    current: list[_WordPart] = []
    line = line_of(node)
    for part in _parts(node, scope, is_quoted=False):
        head, *tail = part.fields or ("",)
        if part.fields:
            current.append(_with_text(part, head))
        for field in tail:
            args += _join(current, line)
            current = [_with_text(part, field)]
    return args + _join(current, line)


def expand_one(node: Node, scope: Scope) -> Word:
    """The same without word splitting: after `name=`."""
    parts = _parts(node, scope, is_quoted=True)
    whole = [_with_text(part, " ".join(part.fields)) for part in parts]
    joined = _join(whole, line_of(node))
    return joined[0] if joined else Word("", line_of(node))


def _with_text(part: _WordPart, field: str) -> _WordPart:
    return _WordPart((field,), part.is_literal, part.may_split, part.names)


def _join(parts: list[_WordPart], line: int) -> list[Word]:
    if not parts:
        return []
    text = "".join(
        islice(chain.from_iterable(p.fields[0] for p in parts), _MAX_WORD_LEN)
    )
    return [
        Word(
            text,
            line,
            len(text) < _MAX_WORD_LEN and all(part.is_literal for part in parts),
            any(part.may_split for part in parts),
            frozenset().union(*(part.names for part in parts)),
        )
    ]


def _parts(node: Node, scope: Scope, *, is_quoted: bool) -> list[_WordPart]:
    kind = node.type
    if kind in ("word", "number", "variable_name", "special_variable_name", "regex"):
        return [_WordPart((_ESCAPED.sub(r"\1", text_of(node)),))]
    if kind == "raw_string":
        return [_WordPart((text_of(node)[1:-1],))]
    if kind == "string":
        return _quoted_parts(node, scope)
    if kind in ("command_name", "concatenation"):
        return [
            part
            for child in node.children
            for part in _parts(child, scope, is_quoted=is_quoted)
        ]
    if kind in ("simple_expansion", "expansion"):
        return [_variable(node, scope, is_quoted=is_quoted)]
    if kind == "arithmetic_expansion":
        return [_arithmetic(node, scope)]
    if kind == "command_substitution":
        return [_unknown(node, may_split=not is_quoted)]
    return [_unknown(node, may_split=False)]


def _quoted_parts(node: Node, scope: Scope) -> list[_WordPart]:
    """The text between double quotes, with the spaces that the grammar omits."""
    parts = [_WordPart(("",))]
    position = node.start_byte + 1
    for child in node.named_children:
        if child.type != "string_content":
            raw = child.text or b""
            blanks = len(raw) - len(raw.lstrip())
            parts += [
                _literal(node, position, child.start_byte + blanks),
                *_parts(child, scope, is_quoted=True),
            ]
            position = child.end_byte
    return [*parts, _literal(node, position, node.end_byte - 1)]


def _literal(string: Node, start: int, end: int) -> _WordPart:
    offset = string.start_byte
    raw = (string.text or b"")[start - offset : max(end, start) - offset]
    text = raw.decode(errors="replace")
    return _WordPart((_ESCAPED_IN_STRING.sub(r"\1", text),))


def _unknown(node: Node, *, may_split: bool) -> _WordPart:
    text = text_of(node).lstrip()
    return _WordPart((text,), False, may_split, frozenset(_NAMES.findall(text)))


def _variable(node: Node, scope: Scope, *, is_quoted: bool) -> _WordPart:
    """`$NAME`, `${NAME}`, `${NAME[@]}`, `${NAME:-word}`, `${NAME:?text}`."""
    name, is_array, operator = _reference(node)
    values = scope.get(name) if operator in ("", ":?", "?", ":-", "-") else None
    if values is None:
        return _unknown(node, may_split=not is_quoted)
    names = frozenset((name,))
    if is_array and is_quoted:
        return _WordPart(values, names=names)
    if is_quoted:
        return _WordPart((values[0] if values else "",), names=names)
    args = values if is_array else values[:1]
    return _WordPart(tuple(" ".join(args).split()), names=names)


def _reference(node: Node) -> tuple[str, bool, str]:
    """The name, whether it means a whole array, and the operator."""
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


def _arithmetic(node: Node, scope: Scope) -> _WordPart:
    inside = node.named_children
    value = _value(inside[0], scope) if len(inside) == 1 else None
    if value is None:
        return _WordPart(
            (text_of(node),),
            False,
            names=frozenset(re.findall(r"[A-Za-z_]\w*", text_of(node))),
        )
    return _WordPart((str(value),))


def _value(node: Node, scope: Scope, depth: int = 0) -> int | None:
    """The value of `2 * SLURM_NNODES`."""
    if depth > 20:
        return None
    if node.type in ("number", "word"):
        return (
            number(text_of(node))
            if text_of(node).isdigit()
            else _known_number(node, scope)
        )
    if node.type in ("variable_name", "simple_expansion", "expansion"):
        return _known_number(node, scope)
    if node.type == "parenthesized_expression" and len(node.named_children) == 1:
        return _value(node.named_children[0], scope, depth + 1)
    if node.type == "binary_expression" and len(node.children) == 3:
        left, operator, right = node.children
        return _apply_operator(
            _value(left, scope, depth + 1),
            text_of(operator),
            _value(right, scope, depth + 1),
        )
    return None


def _known_number(node: Node, scope: Scope) -> int | None:
    values = scope.get(text_of(node).strip("${}"))
    return number(values[0]) if values else None


def _apply_operator(left: int | None, operator: str, right: int | None) -> int | None:
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


_ASSIGNED_RE = re.compile(r"(?<!\w)([A-Za-z_]\w*)(?:\+\+|--|[-+*]?=)")
_MUTATING_BUILTINS = ("read", "mapfile", "readarray", "getopts", "let")


class VariableTracker:
    """The scope, and all assignments in order."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.assignments: list[Assignment] = []
        self.exports_all = False

    def assign(
        self, node: Node, context: CommandContext, *, is_exported: bool = False
    ) -> str:
        """`NAME=value`; returns the name."""
        assignment, values = self._read(node, context)
        is_unconditional = assignment.is_unconditional and context.loop is None
        if any(child.type == "+=" for child in node.children):
            self.scope.append(
                assignment.name, values, is_unconditional=is_unconditional
            )
        else:
            self.scope.set(assignment.name, values, is_unconditional=is_unconditional)
        was_exported = self.exports_all or self.scope.is_exported(assignment.name)
        self.assignments.append(
            replace(assignment, is_exported=is_exported or was_exported)
        )
        return assignment.name

    def prefix(self, node: Node, context: CommandContext) -> Assignment:
        """`NAME=value command`, which applies to this command only."""
        assignment, _ = self._read(node, context)
        return replace(assignment, is_exported=True)

    def _read(
        self, node: Node, context: CommandContext
    ) -> tuple[Assignment, tuple[str, ...] | None]:
        name = node.named_children[0] if node.named_children else node
        args = self._values(node.child_by_field_name("value"))
        values = (
            tuple(w.text for w in args) if all(w.is_literal for w in args) else None
        )
        line = line_of(node)
        # An array cannot be exported to a program.
        value = args[0] if len(args) == 1 else Word("", line, not args)
        key = text_of(name).partition("[")[0]
        return Assignment(key, line, value, False, not context.is_conditional), values

    def _values(self, value: Node | None) -> list[Word]:
        if value is None:
            return []
        if value.type != "array":
            return [expand_one(value, self.scope)]
        return [
            word for child in value.named_children for word in expand(child, self.scope)
        ]

    def declare(self, node: Node, context: CommandContext) -> None:
        """`export`, `declare`, `local`, `readonly`, `unset` and their names."""
        kind = node.children[0].type if node.children else ""
        flags = [text_of(c) for c in node.named_children if text_of(c).startswith("-")]
        is_exported = kind == "export" or any("x" in flag for flag in flags)
        for child in node.named_children:
            if child.type == "variable_assignment":
                name = self.assign(child, context, is_exported=is_exported)
            elif (
                child.type in ("variable_name", "word") and text_of(child) not in flags
            ):
                name = text_of(child)
                self._record_use(name, child, context, kind, is_exported)
            else:
                continue
            if is_exported:
                self.scope.export(name)

    def _record_use(
        self,
        name: str,
        node: Node,
        context: CommandContext,
        kind: str,
        is_exported: bool,
    ) -> None:
        is_unconditional = not context.is_conditional
        line = line_of(node)
        if kind.startswith("unset"):
            self.scope.forget([name])
            self.assignments.append(
                Assignment(name, line, None, True, is_unconditional)
            )
        elif is_exported:
            values = self.scope.get(name)
            value = Word(values[0] if values else f"${name}", line, bool(values))
            self.assignments.append(
                Assignment(name, line, value, True, is_unconditional)
            )

    def enter_loop(self, node: Node) -> None:
        """Variables that a loop changes are unknown in the loop."""
        self.scope.forget(_ASSIGNED_RE.findall(text_of(node)))
        self.scope.forget(
            text_of(child)
            for child in node.named_children
            if child.type == "variable_name"
        )

    def apply(self, command: Command) -> None:
        """The effect of other commands on variables."""
        if command.name in _MUTATING_BUILTINS:
            self.scope.forget(word.text for word in command.args[1:])
