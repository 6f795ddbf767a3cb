"""Expands syntax nodes into words as the shell does; unknown parts stay as written."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING

from jaxsif.lint.nodes import line_of, source
from jaxsif.lint.scope import Scope
from jaxsif.lint.words import Word, number

if TYPE_CHECKING:
    from tree_sitter import Node

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
