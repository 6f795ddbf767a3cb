"""Rules for the file, its #SBATCH lines, and its exit status."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import posixpath
import re
from bisect import bisect_left
from collections.abc import Iterator
from difflib import get_close_matches

from jaxsif.lint.model import StatusUse
from jaxsif.lint.options import SBATCH, SRUN, CommandOption
from jaxsif.lint.rule import ERROR, NOTE, WARNING, Violation, rule
from jaxsif.lint.script import Script

_BLANK_BEHIND = re.compile(r"(?<!\\)\\[ \t]+$")
_BYTE_ORDER_MARK = "\ufeff"


@rule(
    "shebang",
    ERROR,
    fix="let the file begin with: #!/usr/bin/env bash",
    why="sbatch refuses a script that does not begin with `#!`: not a blank line, not a"
    " byte order mark may stand before it",
    source="tried with Slurm 26.05",
)
def shebang(script: Script) -> Iterator[Violation]:
    """The first line names no interpreter"""
    first = script.lines[0]
    if first.startswith("#!"):
        return
    if first.startswith(_BYTE_ORDER_MARK):
        yield Violation(1, "an invisible byte order mark is before the shebang")
        return
    after_first_command = [
        n for n, line in enumerate(script.lines, 1) if line.startswith("#!/")
    ]
    where = (
        f", it stands in line {after_first_command[0]}" if after_first_command else ""
    )
    yield Violation(
        1, f"the first line is no shebang{where}; sbatch refuses the script"
    )


@rule(
    "line-ends",
    ERROR,
    fix="convert it: sed -i 's/\\r$//' FILE",
    why="sbatch refuses a script with DOS line breaks, and bash takes the carriage return"
    " for part of the last word",
    source="tried with Slurm 26.05",
)
def line_ends(script: Script) -> Iterator[Violation]:
    """The file has Windows line endings"""
    if script.dos_line is not None:
        yield Violation(
            script.dos_line, "the line ends with a carriage return and a newline"
        )


@rule(
    "continuation",
    ERROR,
    fix="let the backslash be the last character of its line, and put comments above",
    why="a backslash with a blank behind it continues nothing, and a comment in between"
    " ends the command: the words behind it are taken for another command",
    source="bash manual, escape character and comments",
)
def continuation(script: Script) -> Iterator[Violation]:
    """A command that goes on in the next line is cut off"""
    for line, text in enumerate(script.lines, start=1):
        above = script.lines[line - 2] if line > 1 else ""
        if text.lstrip().startswith("#"):
            goes_on = above.endswith("\\") and not above.lstrip().startswith("#")
            if goes_on and any(below.strip() for below in script.lines[line:][:1]):
                yield Violation(
                    line, f"this comment ends the command above: {text.strip()}"
                )
        elif script.is_shell and _BLANK_BEHIND.search(text):
            yield Violation(line, "behind the backslash stands a blank")


@rule(
    "unreadable",
    NOTE,
    fix="check it with: bash -n FILE",
    why="what cannot be read cannot be checked: behind a syntax error commands may be"
    " missed, and of another language than the shell's only the directives are read",
    source="the grammar tree-sitter-bash",
)
def unreadable(script: Script) -> Iterator[Violation]:
    """A part of the script could not be parsed"""
    if not script.is_shell:
        text = f"a script for {script.interpreter}: only its directives were checked"
        yield Violation(1, text, fix="nothing to do, if that is what you want")
    elif script.parsed.unparsed_line is not None:
        text = "syntax error here; the rest may be checked only partly"
        yield Violation(script.parsed.unparsed_line, text)


@rule(
    "directive-late",
    ERROR,
    fix="move it above the first command",
    why="sbatch stops reading directives at the first line that is neither blank nor a"
    " comment; what follows is silently ignored",
    source="sbatch manual; tried with Slurm 26.05",
)
def directive_late(script: Script) -> Iterator[Violation]:
    """A directive is after the first command"""
    first = script.directives.first_command
    for line in script.directives.after_first_command:
        yield Violation(
            line, f"Slurm ignores this line: line {first} is a command already"
        )


@rule(
    "directive-unknown",
    ERROR,
    fix="look it up: sbatch --help",
    why="sbatch refuses a script with an option that it does not know; an option that"
    " resembles none may be a site's own plug-in",
    source="tried with Slurm 26.05",
)
def directive_unknown(script: Script) -> Iterator[Violation]:
    """sbatch does not know the option, or misses its value"""
    for option in script.directives.options.options:
        if option.error:
            yield _explain(option)


def _explain(option: CommandOption) -> Violation:
    written = option.written
    if option.error == "no value":
        return Violation(option.line, f"{written} has no value", fix="give it one")
    bare = written.lstrip("-")
    if option.error == "ambiguous":
        meant = ", ".join(f"--{name}" for name in SBATCH.names(bare))
        return Violation(option.line, f"{written} may mean {meant}", fix="write it out")
    if bare in SRUN.long or (len(bare) == 1 and bare in SRUN.short):
        text = f"{written} is an option of srun, not of sbatch"
        return Violation(option.line, text, fix="move it to the srun line")
    near = get_close_matches(bare, SBATCH.long, n=1, cutoff=0.75)
    if near:
        text = f"sbatch has no option {written}"
        return Violation(option.line, text, fix=f"did you mean --{near[0]}?")
    if written.startswith("--"):
        text = (
            f"Slurm itself has no option {written}; without a plug-in sbatch refuses it"
        )
        return Violation(option.line, text, severity=WARNING)
    return Violation(option.line, f"sbatch has no option {written}")


@rule(
    "directive-word",
    ERROR,
    fix="write values as --option=value, without blanks; put a comment behind #",
    why="sbatch refuses a directive with a word that is neither option nor value; so it"
    " does with blanks around `=`",
    source="tried with Slurm 26.05: Invalid directive found in batch script",
)
def directive_word(script: Script) -> Iterator[Violation]:
    """A directive contains a word that belongs to no option"""
    for stray in script.directives.malformed:
        yield Violation(
            stray.line, f"{stray.text!r} is neither an option nor its value"
        )


@rule(
    "directive-twice",
    WARNING,
    fix="keep one of them",
    why="of an option that is given twice the last counts, without a word",
    source="getopt_long, which sbatch uses",
)
def directive_twice(script: Script) -> Iterator[Violation]:
    """The same option is given twice, with different values"""
    seen: dict[str, CommandOption] = {}
    if script.directives.is_heterogeneous:
        return
    for option in script.directives.options.options:
        before = seen.get(option.name)
        seen[option.name] = option
        if before is None or not option.name or not option.value or not before.value:
            continue
        old, new = before.value.text, option.value.text
        if old != new:
            text = f"{option.written} {new} replaces {old} of line {before.line}"
            yield Violation(option.line, text)


@rule(
    "directive-variable",
    ERROR,
    fix="write the value out, use %j, %x, %u and the like, or give the option on"
    " sbatch's command line",
    why="no shell reads directives, so variables, `~` and $(...) stay as they stand there",
    source="sbatch manual; tried with Slurm 26.05",
)
def directive_variable(script: Script) -> Iterator[Violation]:
    """A directive contains a variable, which is not expanded"""
    for option in script.directives.options.options:
        text = option.value.text if option.value else ""
        if option.name not in ("comment", "wrap") and (
            _EXPANSION_RE.search(text) or text.startswith("~/")
        ):
            yield Violation(option.line, f"Slurm takes {text!r} as it stands")


@rule(
    "directive-comment",
    NOTE,
    fix="write #SBATCH at the very beginning of the line, or ##SBATCH to switch it off",
    why="Slurm reads only lines that begin with exactly `#SBATCH`; all others are comments",
    source="tried with Slurm 26.05",
)
def directive_comment(script: Script) -> Iterator[Violation]:
    """A comment looks like a directive"""
    for line in script.directives.misspelled:
        yield Violation(
            line, f"Slurm takes this for a comment: {script.lines[line - 1]!r}"
        )


@rule(
    "output-folder",
    WARNING,
    fix="make the folder before you submit",
    why="Slurm opens the job's output before the first line of the script runs; where it"
    " does not make the folder itself (26.05 does) the job ends without a trace",
    source="sbatch manual; tried with Slurm 26.05",
)
def output_folder(script: Script) -> Iterator[Violation]:
    """The script makes the folder of its own output, which is too late"""
    made = {
        posixpath.normpath(word.text)
        for command in script.commands
        if command.name == "mkdir"
        for word in command.args[1:]
    }
    for name in ("output", "error"):
        path = script.directives.options.text(name) or ""
        folder = posixpath.normpath(posixpath.dirname(path))
        if folder in made:
            line = script.directives.line_of(name) or 1
            yield Violation(line, f"{path} is opened before the script makes {folder}")


_EXPANSION_RE = re.compile(r"[$`]")
_READS_STATUS = re.compile(r"\$\?|\$\{\?\}|PIPESTATUS")
_BARE_EXIT = re.compile(r"exit\s*$")
# What an answer to a failure begins its commands with, if it leaves nothing of it.
_ALWAYS_SUCCEEDS = {"true", ":", "echo", "printf", "date", "sleep"}
_BETWEEN_COMMANDS = re.compile(r"[;{}()\n]|&&|\|\|?")
_STATUS = re.compile(r"\$\?")


@rule(
    "strict-mode",
    WARNING,
    fix="begin with: set -euo pipefail",
    why="without it the script goes on after a failure, with an unset variable or without"
    " its module, and the job's status is that of its last command",
    source="sbatch manual; bash manual, the set builtin",
)
def strict_mode(script: Script) -> Iterator[Violation]:
    """The script continues after a failure"""
    commands = script.commands
    if len(commands) < 2 or not any(script.workloads):
        return
    if not any(command.shell_options.errexit for command in commands):
        yield Violation(
            commands[0].line, "nothing ends the script when a command fails"
        )


@rule(
    "status-lost",
    ERROR,
    fix="begin with set -euo pipefail, or let the step be the last command, or keep"
    " its status: status=$? and at the end exit $status",
    why="the job ends with the status of its last command: a job whose ranks all failed"
    " is COMPLETED, and what depends on it starts",
    source="sbatch manual",
)
def status_lost(script: Script) -> Iterator[Violation]:
    """A command after the step determines the job's status"""
    for run in script.workloads:
        command, context = run.command, run.command.context
        next_statement = context.next_statement
        if (
            next_statement is None
            or command.shell_options.errexit
            or context.status_use is not StatusUse.COUNTS
            or context.is_background
            or context.is_function
            or _READS_STATUS.search(next_statement.text)
            or _BARE_EXIT.match(next_statement.text)
            # It may look at the status itself.
            or not script.parsed.functions.isdisjoint(
                next_statement.text.split(None, 1)[:1]
            )
        ):
            continue
        if next_statement.is_next_iteration:
            text = (
                f"only the last turn of the loop in line {next_statement.line} counts"
            )
        else:
            first = next_statement.text.partition("\n")[0]
            text = f"what counts is the status of line {next_statement.line}: {first}"
        yield Violation(run.line, text)


@rule(
    "status-pipe",
    ERROR,
    fix="begin with set -euo pipefail",
    why="without pipefail a pipe has the status of its last command, and tee never fails",
    source="bash manual, pipelines",
)
def status_pipe(script: Script) -> Iterator[Violation]:
    """A pipe hides the step's status"""
    if any("PIPESTATUS" in line for line in script.lines):
        return
    for run in script.workloads:
        context = run.command.context
        if context.status_use is StatusUse.PIPED:
            reader = context.status_user.partition("\n")[0]
            yield Violation(run.line, f"what counts is the status of: {reader}")


@rule(
    "status-swallowed",
    ERROR,
    fix="let it fail, or keep the status: srun ... || status=$?",
    why="a failure that is answered with true or echo is none any more, also under set -e",
    source="bash manual, lists",
)
def status_swallowed(script: Script) -> Iterator[Violation]:
    """|| turns the step's failure into a success"""
    for run in script.workloads:
        context = run.command.context
        answer = context.status_user
        is_answered = context.status_use is StatusUse.OR_ELSE and answer
        if is_answered and _always_succeeds(answer):
            first = answer.partition("\n")[0]
            yield Violation(run.line, f"after a failure the status is that of: {first}")


def _always_succeeds(answer: str) -> bool:
    """Whether all commands of an answer certainly succeed, and none looks at the status."""
    commands = [part.split() for part in _BETWEEN_COMMANDS.split(answer)]
    names = {args[0] for args in commands if args}
    return names <= _ALWAYS_SUCCEEDS and not _READS_STATUS.search(answer)


@rule(
    "status-negated",
    ERROR,
    fix="status=0; COMMAND || status=$?",
    why="`!` has turned the status into 0 already when `$?` is read",
    source="measured: rc=0 for a child that exits with 3",
)
def status_negated(script: Script) -> Iterator[Violation]:
    """$? after `if ! command` is always 0"""
    for command in script.commands:
        context = command.context
        if context.status_use is StatusUse.NEGATED and _STATUS.search(
            context.status_user
        ):
            yield Violation(command.line, "the branch reads $?, which is 0 behind `!`")


@rule(
    "status-wait",
    ERROR,
    fix='keep the ids, pids+=($!), and wait for each: for pid in "${pids[@]}"; do'
    ' wait "$pid"; done',
    why="`wait` without a process has status 0 whatever became of the steps",
    source="bash manual, wait; measured",
)
def status_wait(script: Script) -> Iterator[Violation]:
    """`wait` alone discards the status of background steps"""
    waits = [command for command in script.commands if command.name == "wait"]
    if any(len(command.args) > 1 for command in waits):
        return
    steps = [run for run in script.workloads if run.is_background]
    lines = sorted(run.line for run in steps)
    for command in waits:
        before = bisect_left(lines, command.line)
        if before:
            line = lines[before - 1]
            yield Violation(command.line, f"the step of line {line} may fail unnoticed")


TOPICS = {
    "Script file": (
        shebang,
        line_ends,
        continuation,
        unreadable,
    ),
    "Directives": (
        directive_late,
        directive_unknown,
        directive_word,
        directive_twice,
        directive_variable,
        directive_comment,
        output_folder,
    ),
    "Exit status": (
        strict_mode,
        status_lost,
        status_pipe,
        status_swallowed,
        status_negated,
        status_wait,
    ),
}
