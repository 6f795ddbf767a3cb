"""Parses a shell script, even a broken one, into commands and variables."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import accumulate, islice, takewhile
from typing import TYPE_CHECKING

from jaxsif.lint.expansion import (
    Scope,
    VariableTracker,
    expand,
    first_error_line,
    line_of,
    statements_of_branch,
    text_of,
    truncated_text,
)
from jaxsif.lint.model import (
    DEFAULT_OPTIONS,
    Assignment,
    Command,
    CommandContext,
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

_OPERATOR = re.compile(
    r"<<(?P<tabs>-?)[ \t]*(?P<quote>['\"\\]?)(?P<end>[A-Za-z_]\w*)['\"]?"
)


@dataclass(frozen=True)
class Heredoc:
    """The input of a command in `line`; its text begins in line `first`."""

    line: int
    first: int
    text: str


def extract_heredocs(lines: Sequence[str]) -> tuple[list[str], list[Heredoc]]:
    """Return the lines with here-documents blanked, and the here-documents.

    The grammar of tree-sitter-bash loses `|` and `&` after `<<`, which decide how the
    status of a step is used. An operator without an end is left unchanged.
    """
    kept = list(lines)
    found: list[Heredoc] = []
    ends = _Ends(lines)
    number = 0
    while number < len(lines):
        number = _take_out_of(number, lines, ends, kept, found)
    return kept, found


class _Ends:
    """An index of lines by their text."""

    def __init__(self, lines: Sequence[str]) -> None:
        self._plain: dict[str, list[int]] = defaultdict(list)
        self._indented: dict[str, list[int]] = defaultdict(list)
        for number, line in enumerate(lines):
            self._plain[line].append(number)
            self._indented[line.lstrip("\t")].append(number)

    def after(self, start: int, word: str, *, is_indented: bool) -> int | None:
        numbers = (self._indented if is_indented else self._plain).get(word, [])
        index = bisect_left(numbers, start)
        return numbers[index] if index < len(numbers) else None


def _take_out_of(
    number: int,
    lines: Sequence[str],
    ends: _Ends,
    kept: list[str],
    found: list[Heredoc],
) -> int:
    """Process one line; return the number of the next line after its documents."""
    following = number + 1
    for match in _operators(lines[number]):
        end = ends.after(following, match["end"], is_indented=bool(match["tabs"]))
        if end is None:
            continue
        text = "\n".join(lines[following:end])
        found.append(Heredoc(number + 1, following + 1, text))
        kept[following : end + 1] = [""] * (end + 1 - following)
        start, stop = match.span()
        kept[number] = kept[number][:start] + " " * (stop - start) + kept[number][stop:]
        following = end + 1
    return following


def _operators(line: str) -> list[re.Match[str]]:
    if line.lstrip().startswith("#"):
        return []
    # `<<<` is a here-string, and `<<` after `((` is a shift.
    shift = line.find("((")
    stop = len(line) if shift < 0 else shift
    matches = islice(_OPERATOR.finditer(line, 0, stop), _MAX_HEREDOCS_PER_LINE)
    return [m for m in matches if line[max(0, m.start() - 1)] != "<"]


# What the grammar's own code reads beyond its tables for, and crashes, after a `{`:
# https://github.com/tree-sitter/tree-sitter-bash/issues/337
_UNSUPPORTED = re.compile(r"[\U00010000-\U0010ffff]")
# Limits for statements, words, and characters of a script.
_MAX_WORK = 16_000
_MAX_CHARS, _MAX_CHARS_WITH_HEREDOCS = 1 << 18, 1 << 19
# To recover from a statement without an end, the parser goes back to each of these: 16,000
# of them take 5 s, and it has no limit of its own.
_BACKTRACK_POINT = re.compile(r"\||\(|;;")
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


@dataclass(frozen=True)
class ParsedScript:
    """The parsed script. `unread` is the first line that could not be parsed."""

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

    def take(self, workloads: int = 1) -> bool:
        """Whether the limit is not reached."""
        self.left -= workloads
        return self.left > 0


def parse_shell(
    lines: Sequence[str],
    known: Mapping[str, str],
    shell_options: ShellOptions = DEFAULT_OPTIONS,
    budget: Budget | None = None,
) -> ParsedScript:
    """Parse a script, given the variables known before it starts."""
    ends = accumulate(len(line) + 1 for line in lines)
    number = sum(
        1 for _ in takewhile(lambda end: end <= _MAX_CHARS_WITH_HEREDOCS, ends)
    )
    kept, heredocs = extract_heredocs(lines[:number])
    text = _UNSUPPORTED.sub("\ufffd", "\n".join(kept))
    stop = _stop(text)
    tree = _parser().parse(text[:stop].encode(errors="replace"))
    walker = _ShellWalker(Scope(known), shell_options, heredocs, budget or Budget())
    if number < len(lines):
        walker.unparsed_line = number + 1
    if stop < len(text):
        walker.unparsed_line = text.count("\n", 0, stop) + 1
    walker.walk(tree.root_node, CommandContext(), 0)
    return ParsedScript(
        tuple(walker.commands),
        tuple(walker.variables.assignments),
        walker.unparsed_line,
        frozenset(walker.functions),
    )


def _stop(text: str) -> int:
    """Where parsing ends: at the end of the last line within the limit."""
    marks = islice(_BACKTRACK_POINT.finditer(text), _MAX_BACKTRACK_POINTS, None)
    last = next((mark.start() for mark in marks), len(text))
    stop = min(last, _MAX_CHARS)
    return len(text) if stop == len(text) else text.rfind("\n", 0, stop) + 1


class _ShellWalker:
    """Walks the tree in the order of execution."""

    def __init__(
        self,
        scope: Scope,
        shell_options: ShellOptions,
        heredocs: list[Heredoc],
        budget: Budget,
    ) -> None:
        self.variables = VariableTracker(scope)
        self.budget = budget
        self.shell_options = shell_options
        self.heredocs = {heredoc.line: heredoc for heredoc in heredocs}
        self.commands: list[Command] = []
        self.unparsed_line: int | None = None
        self.functions: set[str] = set()

    def walk(self, node: Node, context: CommandContext, depth: int) -> None:
        if node.is_error or node.is_missing or depth > _MAX_DEPTH:
            self.unparsed_line = self.unparsed_line or first_error_line(node)
        kind = node.type
        # Other nodes are handled as a whole.
        workloads = node.descendant_count if kind in _ATOMIC else 1
        if depth > _MAX_DEPTH or not self._has_budget(node, workloads):
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
            self._statements(
                node.children, replace(context, status_use=StatusUse.NEGATED), below
            )
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
            self._statements(statements_of_branch(node), inside, below)
        else:
            self._statements(node.children, context, below)

    def _has_budget(self, node: Node, workloads: int = 1) -> bool:
        is_left = self.budget.take(workloads)
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
                inside = replace(
                    context,
                    next_statement=NextStatement(line_of(after), truncated_text(after)),
                )
            if index + 1 < len(children) and children[index + 1].type == "&":
                inside = replace(inside, is_background=True)
            self.walk(children[index], inside, depth)
        for if_body in branches:
            self.walk(if_body, context, depth)

    def _list(self, node: Node, context: CommandContext, depth: int) -> None:
        left, *others = [c for c in node.named_children if c.type != "comment"]
        operator = next((c.type for c in node.children if not c.is_named), "")
        shell_options = self.shell_options
        # A failure on the left of && and || does not trigger errexit.
        self.shell_options = replace(shell_options, errexit=False)
        if operator == "||" and others:
            inside = replace(
                context, status_use=StatusUse.TESTED, or_else=truncated_text(others[-1])
            )
            self.walk(left, inside, depth)
        else:
            self.walk(left, context, depth)
        self.shell_options = replace(self.shell_options, errexit=shell_options.errexit)
        for other in others:
            self.walk(other, replace(context, is_conditional=True), depth)

    def _pipeline(self, node: Node, context: CommandContext, depth: int) -> None:
        parts = [c for c in node.named_children if c.type != "comment"]
        for part, pipe_reader in zip(parts, parts[1:], strict=False):
            piped = replace(
                context,
                status_use=StatusUse.PIPED,
                pipe_reader=truncated_text(pipe_reader),
            )
            # With pipefail the status is used as if there were no pipe.
            inside = (
                replace(context, pipe_reader=piped.pipe_reader)
                if self.shell_options.pipefail
                else piped
            )
            self.walk(part, inside, depth)
        for part in parts[-1:]:
            self.walk(part, context, depth)

    def _if(self, node: Node, context: CommandContext, depth: int) -> None:
        index = next((i for i, c in enumerate(node.children) if c.type == "then"), 0)
        condition, remaining = node.children[:index], node.children[index:]
        if_body = "\n".join(
            truncated_text(child) for child in remaining if child.is_named
        )
        tested = replace(context, status_use=StatusUse.TESTED, if_body=if_body)
        self._statements(condition, tested, depth)
        self._statements(remaining, replace(context, is_conditional=True), depth)

    def _loop(self, node: Node, context: CommandContext, depth: int) -> None:
        line = line_of(node)
        again = NextStatement(
            line, text_of(node).partition("\n")[0], is_next_iteration=True
        )
        self.variables.enter_loop(node)
        for child in node.named_children:
            if child.type in ("do_group", "compound_statement"):
                inside = replace(context, loop=line, next_statement=again)
                if node.type == "while_statement":
                    inside = replace(inside, is_conditional=True)
                self.walk(child, inside, depth)
            elif node.type == "while_statement":
                self.walk(child, replace(context, status_use=StatusUse.TESTED), depth)
            else:
                self._substitutions(child, context, depth)

    def _command(self, node: Node, context: CommandContext, depth: int) -> None:
        self._substitutions(node, context, depth)
        prefix = [c for c in node.children if c.type == "variable_assignment"]
        name = node.child_by_field_name("name")
        start = line_of(name) if name is not None else line_of(node)
        # The grammar joins lines of assignments with the command on the next line.
        adjacent = [c for c in prefix if self._is_adjacent(node, c, start)]
        for assignment in adjacent:
            self.variables.assign(assignment, context)
        assignments = [
            self.variables.prefix(c, context) for c in prefix if c not in adjacent
        ]
        args: list[Word] = []
        for child in node.children:
            if child in prefix or child.type.endswith("redirect"):
                continue
            more = expand(child, self.variables.scope)
            if not self._has_budget(child, sum(1 + len(w.text) // 256 for w in more)):
                break
            args += more
        first = start if adjacent else line_of(node)
        heredoc = self._heredoc(first, node.end_point[0] + 1)
        command = Command(
            first,
            node.end_point[0] + 1,
            tuple(args),
            truncated_text(node),
            tuple(assignments),
            context,
            self.shell_options,
            heredoc.text if heredoc else "",
            heredoc.first if heredoc else 0,
            len(self.variables.assignments),
        )
        self.commands.append(command)
        self._apply(command)

    def _is_adjacent(self, node: Node, assignment: Node, start: int) -> bool:
        if line_of(assignment) == start:
            return False
        offset = assignment.end_byte - node.start_byte
        between = (node.text or b"")[offset:].partition(b"\n")[0]
        return not between.rstrip(b" \t").endswith(b"\\")

    def _heredoc(self, first: int, last: int) -> Heredoc | None:
        within = range(first, last + 1)
        line = next((line for line in within if line in self.heredocs), None)
        return self.heredocs.pop(line) if line is not None else None

    def _substitutions(self, node: Node, context: CommandContext, depth: int) -> None:
        """Walks the commands in `$(...)` and `<(...)` of a word."""
        if depth > _MAX_DEPTH or self.budget.left <= 0:
            return
        captured = replace(context, status_use=StatusUse.CAPTURED, next_statement=None)
        for child in node.named_children:
            if child.type in ("command_substitution", "process_substitution"):
                self._statements(child.children, captured, depth + 1)
            else:
                self._substitutions(child, context, depth + 1)

    def _apply(self, command: Command) -> None:
        """The effect of a command on later commands."""
        self.variables.apply(command)
        if command.name == "set":
            self.shell_options = apply_set(
                self.shell_options, [w.text for w in command.args[1:]]
            )
            self.variables.exports_all = self.shell_options.allexport
        elif command.name == "trap" and command.args[-1].text == "ERR":
            self.shell_options = replace(self.shell_options, errexit=True)
