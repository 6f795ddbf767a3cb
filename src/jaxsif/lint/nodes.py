"""Nodes of the syntax tree: their text, their line, what is in them; runs anywhere."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tree_sitter import Node

_LONGEST = 1 << 16


def source(node: Node) -> str:
    """The node as it was written."""
    return (node.text or b"").decode(errors="replace")


def glimpse(node: Node) -> str:
    """As much of it as the rules look at: what is nested would be kept at every depth."""
    return source(node)[:_LONGEST]


def line_of(node: Node) -> int:
    return node.start_point[0] + 1


def torn(node: Node) -> int:
    """The line where a broken part begins: what is opened there is never closed."""
    opened = [c for c in node.children if not c.is_named and c.type not in (";", "&")]
    return line_of(opened[0] if opened else node)


def statements_of_branch(node: Node) -> list[Node]:
    """The statements or the items of a case; words and patterns are none of them."""
    if node.type == "case_statement":
        return [child for child in node.children if child.type == "case_item"]
    if node.type == "else_clause":
        return node.children
    types = [child.type for child in node.children]
    return node.children[types.index(")") + 1 :] if ")" in types else []
