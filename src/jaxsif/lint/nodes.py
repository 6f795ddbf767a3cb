"""Helpers for nodes of the syntax tree: text, line, statements."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tree_sitter import Node

_LONGEST = 1 << 16


def source(node: Node) -> str:
    """The source text of the node."""
    return (node.text or b"").decode(errors="replace")


def glimpse(node: Node) -> str:
    """The text, truncated, because nested nodes repeat it at every depth."""
    return source(node)[:_LONGEST]


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
