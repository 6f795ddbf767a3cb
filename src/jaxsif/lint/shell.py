"""Parses a shell script, even a broken one, into commands and variables."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import accumulate, islice, takewhile
from typing import TYPE_CHECKING

from jaxsif.lint.expansion import Variables, expand, line_of, text_of
from jaxsif.lint.model import (
    DEFAULT_OPTIONS,
    Assignment,
    Command,
    CommandContext,
    Heredoc,
    NextStatement,
    ShellOptions,
    StatusUse,
    Word,
    apply_set,
)

if TYPE_CHECKING:
    from tree_sitter import Node, Parser

# Limit per line; more than two are unusual.
_MAX_HEREDOCS_PER_LINE = 16
_HEREDOC_RE = re.compile(
    r"<<(?P<tabs>-?)[ \t]*(?P<quote>['\"\\]?)(?P<end>[A-Za-z_]\w*)['\"]?"
)
# What the grammar's own code reads beyond its tables for, and crashes, after a `{`:
# https://github.com/tree-sitter/tree-sitter-bash/issues/337
_UNSUPPORTED_RE = re.compile(r"[\U00010000-\U0010ffff]")
# Limits for statements, words, and characters of a script.
_MAX_WORK = 16_000
_MAX_CHARS, _MAX_CHARS_WITH_HEREDOCS = 1 << 18, 1 << 19
# To recover from a statement without an end, the parser goes back to each of these: 16,000
# of them take 5 s, and it has no limit of its own.
_BACKTRACK_POINT_RE = re.compile(r"\||\(|;;")
_MAX_BACKTRACK_POINTS = 3000
# Maximum nesting, far below Python's recursion limit.
_MAX_DEPTH = 120
_NO_STATEMENTS = {
    *("comment", "variable_name", "heredoc_body", "heredoc_end"),
    *("file_redirect", "heredoc_redirect", "herestring_redirect"),
}
_ATOMIC = {
    *("command", "test_command", "declaration_command", "unset_command"),
    "variable_assignment",
}
_LOOPS = {"for_statement", "c_style_for_statement", "while_statement"}
# Alternatives, of which only one runs.
_BRANCHES = {"elif_clause", "else_clause", "case_item"}
# Limit of a statement's text, because nested nodes repeat it at every depth.
_MAX_TEXT_LEN = 1 << 16


@dataclass(frozen=True)
class ParsedScript:
    """The parsed script. `unparsed_line` is the first line that could not be parsed."""

    commands: tuple[Command, ...] = ()
    assignments: tuple[Assignment, ...] = ()
    unparsed_line: int | None = None
    functions: frozenset[str] = frozenset()


@cache
def _parser() -> Parser:
    import tree_sitter_bash
    from tree_sitter import Language, Parser

    return Parser(Language(tree_sitter_bash.language()))


class Budget:
    """The remaining limits for a script and the scripts within it."""

    def __init__(self) -> None:
        self.left = _MAX_WORK

    def take(self, work: int) -> bool:
        """Whether the limit is not reached."""
        self.left -= work
        return self.left > 0


def extract_heredocs(lines: Sequence[str]) -> tuple[list[str], dict[int, Heredoc]]:
    """Return the lines with here-documents blanked, and these by their command's line.

    The grammar of tree-sitter-bash loses `|` and `&` after `<<`, which decide how the
    status of a step is used. An operator without an end is left unchanged.
    """
    kept = list(lines)
    heredocs: dict[int, Heredoc] = {}
    # The last line of each text; a search that cannot succeed need not begin.
    last = {line: number for number, line in enumerate(lines)}
    last_indented = {line.lstrip("\t"): number for number, line in enumerate(lines)}
    number = 0
    while number < len(lines):
        following = number + 1
        for match in _heredoc_operators(lines[number]):
            tabs = "\t" if match["tabs"] else ""
            stop = (last_indented if tabs else last).get(match["end"], -1) + 1
            candidates = range(following, stop)
            ends = (n for n in candidates if lines[n].lstrip(tabs) == match["end"])
            end = next(ends, None)
            if end is None:
                continue
            text = "\n".join(lines[following:end])
            heredocs[number + 1] = Heredoc(text, following + 1)
            kept[following : end + 1] = [""] * (end + 1 - following)
            first, past = match.span()
            line = kept[number]
            kept[number] = line[:first] + " " * (past - first) + line[past:]
            following = end + 1
        number = following
    return kept, heredocs


def _heredoc_operators(line: str) -> list[re.Match[str]]:
    if line.lstrip().startswith("#"):
        return []
    # `<<<` is a here-string, and `<<` after `((` is a shift.
    shift = line.find("((")
    stop = len(line) if shift < 0 else shift
    matches = islice(_HEREDOC_RE.finditer(line, 0, stop), _MAX_HEREDOCS_PER_LINE)
    return [m for m in matches if not line.endswith("<", 0, m.start())]


def parse_shell(
    lines: Sequence[str],
    known: Mapping[str, str],
    shell_options: ShellOptions = DEFAULT_OPTIONS,
    budget: Budget | None = None,
) -> ParsedScript:
    """Parse a script, given the variables known before it starts."""
    ends = accumulate(len(line) + 1 for line in lines)
    count = sum(1 for _ in takewhile(lambda end: end <= _MAX_CHARS_WITH_HEREDOCS, ends))
    kept, heredocs = extract_heredocs(lines[:count])
    _close_last_line(kept)
    text = _UNSUPPORTED_RE.sub("\ufffd", "\n".join(kept))
    stop = _parsing_end(text)
    tree = _parser().parse(text[:stop].encode(errors="replace"))
    walker = _ShellWalker(Variables(known), shell_options, heredocs, budget or Budget())
    if count < len(lines):
        walker.unparsed_line = count + 1
    if stop < len(text):
        walker.unparsed_line = text.count("\n", 0, stop) + 1
    walker.walk(tree.root_node, CommandContext(), 0)
    return ParsedScript(
        tuple(walker.commands),
        tuple(walker.variables.assignments),
        walker.unparsed_line,
        frozenset(walker.functions),
    )


def _close_last_line(lines: list[str]) -> None:
    """Remove a backslash at the end of the script, where no line follows."""
    for number in range(len(lines) - 1, -1, -1):
        if lines[number].strip():
            lines[number] = lines[number].rstrip().removesuffix("\\")
            return


def _parsing_end(text: str) -> int:
    """Return where parsing ends: at the end of the last line within the limits."""
    points = islice(_BACKTRACK_POINT_RE.finditer(text), _MAX_BACKTRACK_POINTS, None)
    last = next((point.start() for point in points), len(text))
    stop = min(last, _MAX_CHARS)
    return len(text) if stop == len(text) else text.rfind("\n", 0, stop) + 1


class _ShellWalker:
    """Walks the syntax tree in the order of execution."""

    def __init__(
        self,
        variables: Variables,
        shell_options: ShellOptions,
        heredocs: dict[int, Heredoc],
        budget: Budget,
    ) -> None:
        self.variables = variables
        self.shell_options = shell_options
        self.heredocs = heredocs
        self.budget = budget
        self.commands: list[Command] = []
        self.unparsed_line: int | None = None
        self.functions: set[str] = set()

    def walk(self, node: Node, context: CommandContext, depth: int) -> None:
        """Add the commands and assignments of a node."""
        if node.is_error or node.is_missing or depth > _MAX_DEPTH:
            self.unparsed_line = self.unparsed_line or _first_error_line(node)
        kind = node.type
        # Other nodes are handled as a whole.
        work = node.descendant_count if kind in _ATOMIC else 1
        if depth > _MAX_DEPTH or not self._has_budget(node, work):
            return
        below = depth + 1
        if kind in ("command", "test_command"):
            self._command(node, context, below)
        elif kind in ("declaration_command", "unset_command"):
            self._substitutions(node, context, below)
            self.variables.declare(node, context)
        elif kind == "variable_assignment":
            self._substitutions(node, context, below)
            self.variables.assign(node, context)
        elif kind == "list":
            self._list(node, context, below)
        elif kind == "pipeline":
            self._pipeline(node, context, below)
        elif kind == "negated_command":
            is_condition = context.status_use is StatusUse.CONDITION
            user = context.status_user if is_condition else ""
            negated = _used(context, StatusUse.NEGATED, user)
            self._statements(node.children, negated, below)
        elif kind in ("if_statement", "elif_clause"):
            self._if(node, context, below)
        elif kind in _LOOPS:
            self._loop(node, context, below)
        elif kind == "function_definition":
            self.functions |= {text_of(c) for c in node.children if c.type == "word"}
            inside = replace(
                context, is_function=True, is_conditional=True, next_statement=None
            )
            self._statements(node.children, inside, below)
        elif kind in ("case_statement", "case_item", "else_clause"):
            inside = replace(context, is_conditional=True)
            self._statements(_statements_of_branch(node), inside, below)
        else:
            self._statements(node.children, context, below)

    def _has_budget(self, node: Node, work: int) -> bool:
        is_left = self.budget.take(work)
        if not is_left:
            self.unparsed_line = self.unparsed_line or line_of(node)
        return is_left

    def _statements(
        self, children: Sequence[Node], context: CommandContext, depth: int
    ) -> None:
        """Walk statements in order, with the next statement and a following `&`."""
        branches = [c for c in children if c.type in _BRANCHES]
        children = [c for c in children if c.type not in _NO_STATEMENTS | _BRANCHES]
        named = [index for index, child in enumerate(children) if child.is_named]
        for index, following in zip(named, [*named[1:], None], strict=False):
            inside = context
            if following is not None:
                after = children[following]
                statement = NextStatement(line_of(after), _truncated_text(after))
                inside = replace(context, next_statement=statement)
            if index + 1 < len(children) and children[index + 1].type == "&":
                inside = replace(inside, is_background=True)
            self.walk(children[index], inside, depth)
        for branch in branches:
            self.walk(branch, context, depth)

    def _list(self, node: Node, context: CommandContext, depth: int) -> None:
        left, *others = [c for c in node.named_children if c.type != "comment"]
        operator = next((c.type for c in node.children if not c.is_named), "")
        is_condition = context.status_use is StatusUse.CONDITION
        inside = context
        if operator == "||" and others and not is_condition:
            inside = _used(context, StatusUse.OR_ELSE, _truncated_text(others[-1]))
        # A failure on the left of && and || does not trigger errexit.
        errexit = self.shell_options.errexit
        self.shell_options = replace(self.shell_options, errexit=False)
        self.walk(left, inside, depth)
        self.shell_options = replace(self.shell_options, errexit=errexit)
        for other in others:
            self.walk(other, replace(context, is_conditional=True), depth)

    def _pipeline(self, node: Node, context: CommandContext, depth: int) -> None:
        parts = [c for c in node.named_children if c.type != "comment"]
        for part, reader in zip(parts, parts[1:], strict=False):
            piped = _used(context, StatusUse.PIPED, _truncated_text(reader))
            # With pipefail the status is used as if there were no pipe.
            inside = context if self.shell_options.pipefail else piped
            self.walk(part, inside, depth)
        for part in parts[-1:]:
            self.walk(part, context, depth)

    def _if(self, node: Node, context: CommandContext, depth: int) -> None:
        index = next((i for i, c in enumerate(node.children) if c.type == "then"), 0)
        condition, branches = node.children[:index], node.children[index:]
        body = "\n".join(_truncated_text(child) for child in branches if child.is_named)
        tested = _used(context, StatusUse.CONDITION, body)
        self._statements(condition, tested, depth)
        self._statements(branches, replace(context, is_conditional=True), depth)

    def _loop(self, node: Node, context: CommandContext, depth: int) -> None:
        line, is_while = line_of(node), node.type == "while_statement"
        again = NextStatement(line, text_of(node).partition("\n")[0], True)
        self.variables.enter_loop(node)
        for child in node.named_children:
            if child.type in ("do_group", "compound_statement"):
                is_conditional = is_while or context.is_conditional
                body = replace(context, loop=line, next_statement=again)
                self.walk(child, replace(body, is_conditional=is_conditional), depth)
            elif is_while:
                self.walk(child, _used(context, StatusUse.CONDITION, ""), depth)
            else:
                self._substitutions(child, context, depth)

    def _command(self, node: Node, context: CommandContext, depth: int) -> None:
        self._substitutions(node, context, depth)
        prefix = [c for c in node.children if c.type == "variable_assignment"]
        name = node.child_by_field_name("name")
        start = line_of(name) if name is not None else line_of(node)
        # The grammar joins lines of assignments with the command on the next line.
        own_lines = [c for c in prefix if _has_own_line(node, c, start)]
        for assignment in own_lines:
            self.variables.assign(assignment, context)
        assignments = [
            self.variables.prefix(c, context) for c in prefix if c not in own_lines
        ]
        args: list[Word] = []
        for child in node.children:
            if child in prefix or child.type.endswith("redirect"):
                continue
            words = expand(child, self.variables)
            if not self._has_budget(child, sum(1 + len(w.text) // 256 for w in words)):
                break
            args += words
        line = start if own_lines else line_of(node)
        command = Command(
            line,
            tuple(args),
            tuple(assignments),
            context,
            self.shell_options,
            self._take_heredoc(range(line, node.end_point[0] + 2)),
            len(self.variables.assignments),
        )
        self.commands.append(command)
        self._apply(command)

    def _take_heredoc(self, lines: range) -> Heredoc | None:
        line = next((line for line in lines if line in self.heredocs), None)
        return self.heredocs.pop(line) if line is not None else None

    def _substitutions(self, node: Node, context: CommandContext, depth: int) -> None:
        """Walk the commands in `$(...)` and `<(...)` of a word."""
        if depth > _MAX_DEPTH or self.budget.left <= 0:
            return
        captured = replace(context, status_use=StatusUse.CAPTURED, next_statement=None)
        for child in node.named_children:
            if child.type in ("command_substitution", "process_substitution"):
                self._statements(child.children, captured, depth + 1)
            else:
                self._substitutions(child, context, depth + 1)

    def _apply(self, command: Command) -> None:
        """Apply the effect of a command on later commands."""
        self.variables.apply(command)
        if command.name == "set":
            args = [word.text for word in command.args[1:]]
            self.shell_options = apply_set(self.shell_options, args)
            self.variables.exports_all = self.shell_options.allexport
        elif command.name == "trap" and command.args[-1].text == "ERR":
            self.shell_options = replace(self.shell_options, errexit=True)


def _used(context: CommandContext, use: StatusUse, user: str) -> CommandContext:
    return replace(context, status_use=use, status_user=user)


def _truncated_text(node: Node) -> str:
    return text_of(node)[:_MAX_TEXT_LEN]


def _first_error_line(node: Node) -> int:
    """Return the line where an error begins: the bracket or quote never closed."""
    opened = [c for c in node.children if not c.is_named and c.type not in (";", "&")]
    return line_of(opened[0] if opened else node)


def _statements_of_branch(node: Node) -> list[Node]:
    """Return a branch's statements, or a case's items, without their patterns."""
    if node.type == "case_statement":
        return [child for child in node.children if child.type == "case_item"]
    if node.type == "else_clause":
        return node.children
    types = [child.type for child in node.children]
    return node.children[types.index(")") + 1 :] if ")" in types else []


def _has_own_line(command: Node, assignment: Node, start: int) -> bool:
    """Whether an assignment is on a line of its own before the command."""
    if line_of(assignment) == start:
        return False
    offset = assignment.end_byte - command.start_byte
    between = (command.text or b"")[offset:].partition(b"\n")[0]
    return not between.rstrip(b" \t").endswith(b"\\")
