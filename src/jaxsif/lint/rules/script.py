"""Rules for the file, its #SBATCH lines, and its exit status."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import posixpath
import re
from bisect import bisect_left
from collections.abc import Iterator
from difflib import get_close_matches
from itertools import pairwise

from jaxsif.lint.frameworks import batch_system_of
from jaxsif.lint.model import Command, NextStatement, StatusUse
from jaxsif.lint.options import SBATCH, SRUN, CommandOption, ParsedOptions
from jaxsif.lint.programs import SHELLS, is_setup
from jaxsif.lint.rule import ERROR, NOTE, WARNING, Violation, rule
from jaxsif.lint.script import BETWEEN_COMMANDS_RE, PRINTS_RE, Script

_COUNT_RE = re.compile(r"^\d++[kKmM]?$")
_TIME_RE = re.compile(r"^(?:\d[\d:-]*+|infinite|unlimited|-1)$", re.IGNORECASE)
# How the values of some options look.
_VALUE_FORMS = {
    "array": re.compile(r"^\[?\d[\d,:%-]*+\]?(?:%\d++)?$"),
    "time": _TIME_RE,
    "time-min": _TIME_RE,
    "nodes": re.compile(r"^\d[\dkKmM,:-]*+$"),
    "ntasks": _COUNT_RE,
    "ntasks-per-node": _COUNT_RE,
    "cpus-per-task": _COUNT_RE,
    "mem": re.compile(r"^[\d.]++[kKmMgGtTpP]?[iI]?[bB]?$"),
}
# A shell's variable, or a template's, which is filled in before sbatch reads it.
_TEMPLATE_RE = re.compile(r"[$`]|\{\{|\{%|<%|@\w+@|\{\w*\}")
# What a user is to replace by hand: `<time>`, `NUM_NODES`, `XX`.
_TO_BE_FILLED_IN_RE = re.compile(r"^[<\[]|[A-Z_]{2}")
# What is a syntax error in Python.
_SHELL_COMMAND_RE = re.compile(
    r"(?:srun|python3?|source|module|ml|conda|mpirun|export|cd|echo) +[\w./~$\"'-]"
)
_BYTE_ORDER_MARK = "\ufeff"
_BLANK_AFTER_BACKSLASH_RE = re.compile(r"(?<!\\)\\[ \t]++(?:#.*)?$")
_EXPANSION_RE = re.compile(r"[$`]|^~/")
_READS_STATUS_RE = re.compile(r"\$\?|\$\{\?\}|PIPESTATUS")
_BARE_EXIT_RE = re.compile(r"exit\s*$")
# The variables that a statement assigns.
_ASSIGNED_RE = re.compile(r"(?:^|[\s;&(])([A-Za-z_]\w*)(?:\[[^\]\n]{0,99}\])?\+?=")
# Commands that end or repeat the job, or fail, and so do not lose its status.
_ENDING = {"exit", "return", "false", "kill", "scancel", "scontrol", "exec"}
_PRINTING = {"echo", "printf", "date", "hostname", "sacct", "seff", "sstat"}
_TESTS = ("[", "[[", "test", "((")
# Commands whose failure is no fault, but ends a script under `set -e`.
_FAILS_NORMALLY = {"grep", "egrep", "pgrep", "diff", "cmp", "expr", "let", "pkill"}
# Commands that discard the status when they are on the right of ||.
_ALWAYS_SUCCEEDS = {"true", ":", "echo", "printf", "date", "sleep"}


@rule(
    "batch-system",
    NOTE,
    fix="nothing, if this is intended: jax-sif lint checks scripts for Slurm",
    why="its launchers and variables do not exist in Slurm, and Slurm's do not exist"
    " there, so none of the other rules was applied; sbatch reads no directives but its"
    " own and those of PBS",
    source="manuals of PBS, LSF, Grid Engine, Flux, HTCondor; tried with Slurm 26.05",
)
def batch_system(script: Script) -> Iterator[Violation]:
    """The script is for another batch system than Slurm"""
    if found := batch_system_of(script.lines):
        name, line = found
        yield Violation(line, f"a script for {name}, which was not checked")


@rule(
    "shebang",
    ERROR,
    fix="begin the file with: #!/usr/bin/env bash",
    why="sbatch refuses a script that does not begin with `#!`; not even an empty line or"
    " a byte order mark may precede it; a word behind `#!/bin/bash` is the file that bash"
    " runs instead of the script",
    source="tried with Slurm 26.05; execve manual, interpreter scripts",
)
def shebang(script: Script) -> Iterator[Violation]:
    """The first line names no interpreter, or starts another program"""
    first = script.lines[0]
    if first.startswith(_BYTE_ORDER_MARK):
        yield Violation(1, "an invisible byte order mark precedes the shebang")
    elif not first.startswith("#!") and not script.is_batch_script:
        text = "the first line is not a shebang; sbatch would refuse the script"
        yield Violation(1, text, severity=NOTE)
    elif not first.startswith("#!"):
        lines = [n for n, line in enumerate(script.lines, 1) if line.startswith("#!/")]
        location = f", it is in line {lines[0]}" if lines else ""
        text = f"the first line is not a shebang{location}; sbatch refuses the script"
        yield Violation(1, text)
    elif shell_line := _shell_line_for_python(script):
        text = f"{script.interpreter} cannot run the shell's command in this line"
        yield Violation(shell_line, text)
    elif argument := _shebang_argument(first):
        text = f"the kernel passes {argument!r} as one argument"
        fix = "begin the file with: #!/bin/bash, and write options with `set`"
        yield Violation(1, text, fix=fix)


def _shell_line_for_python(script: Script) -> int | None:
    """Return the first line that is a command of the shell in a script for Python."""
    if not script.interpreter.startswith("python"):
        return None
    lines = enumerate(script.lines, start=1)
    return next((n for n, line in lines if _SHELL_COMMAND_RE.match(line)), None)


def _shebang_argument(first: str) -> str:
    """Return the argument of a shebang that the interpreter cannot use, or ""."""
    interpreter, _, argument = first[2:].strip().partition(" ")
    argument = argument.strip()
    name = posixpath.basename(interpreter)
    if name == "env":
        is_split = argument.startswith(("-S", "--split-string"))
        return argument if " " in argument and not is_split else ""
    if name not in SHELLS or argument.startswith("--"):
        return ""
    is_option = argument.startswith(("-", "+")) and " " not in argument
    return "" if is_option else argument


@rule(
    "line-ends",
    ERROR,
    fix="convert it: sed -i 's/\\r$//' FILE",
    why="sbatch refuses a script with DOS line breaks, and bash takes the carriage return"
    " as part of the last word",
    source="tried with Slurm 26.05",
)
def line_ends(script: Script) -> Iterator[Violation]:
    """The file has Windows line endings"""
    if script.dos_line is not None:
        text = "the line ends with a carriage return and a newline"
        yield Violation(script.dos_line, text)


@rule(
    "continuation",
    ERROR,
    fix="make the backslash the last character of its line, and put comments above",
    why="a backslash before a blank does not continue the line, and a comment in between"
    " ends the command: the words after it are taken as another command",
    source="bash manual, escape character and comments",
)
def continuation(script: Script) -> Iterator[Violation]:
    """A command that continues in the next line is cut off"""
    for line, text in enumerate(script.lines, start=1):
        above = script.lines[line - 2] if line > 1 else ""
        if text.lstrip().startswith("#"):
            continues = above.endswith("\\") and not above.lstrip().startswith("#")
            if continues and any(below.strip() for below in script.lines[line:][:1]):
                comment = f"this comment ends the command above: {text.strip()}"
                yield Violation(line, comment)
        elif script.is_shell and _BLANK_AFTER_BACKSLASH_RE.search(text):
            yield Violation(line, "a blank follows the backslash")


@rule(
    "unreadable",
    NOTE,
    fix="check it with: bash -n FILE",
    why="after a syntax error commands may be missed, and of a script in another language"
    " than the shell's only the directives are checked",
    source="the grammar tree-sitter-bash",
)
def unreadable(script: Script) -> Iterator[Violation]:
    """A part of the script could not be parsed"""
    if not script.is_shell:
        text = f"a script for {script.interpreter}: only its directives were checked"
        yield Violation(1, text, fix="nothing, if this is intended")
    elif script.parsed.unparsed_line is not None:
        text = "syntax error here; the rest may be checked only partly"
        yield Violation(script.parsed.unparsed_line, text)


@rule(
    "directive-late",
    ERROR,
    fix="move it above the first command",
    why="sbatch stops reading directives at the first line that is neither blank nor a"
    " comment, and silently ignores the rest",
    source="sbatch manual; tried with Slurm 26.05",
)
def directive_late(script: Script) -> Iterator[Violation]:
    """A directive is after the first command"""
    first = script.directives.first_command
    for line in script.directives.after_first_command:
        yield Violation(line, f"Slurm ignores this line: line {first} is a command")


@rule(
    "directive-unknown",
    ERROR,
    fix="look it up: sbatch --help",
    why="sbatch refuses a script with an option that it does not know; an option that"
    " resembles none may be a site's own plug-in",
    source="tried with Slurm 26.05",
)
def directive_unknown(script: Script) -> Iterator[Violation]:
    """sbatch does not know the option, or its value is missing"""
    for option in script.directives.options.options:
        if option.error:
            yield _explain_option(option)


def _explain_option(option: CommandOption) -> Violation:
    written, line = option.written, option.line
    bare = written.lstrip("-")
    if option.error == "no value":
        return Violation(line, f"{written} has no value", fix="give it one")
    if option.error == "ambiguous":
        names = ", ".join(f"--{name}" for name in SBATCH.names(bare))
        return Violation(line, f"{written} may mean {names}", fix="write it out")
    if bare in SRUN.long or (len(bare) == 1 and bare in SRUN.short):
        text = f"{written} is an option of srun, not of sbatch"
        return Violation(line, text, fix="move it to the srun line")
    text = f"sbatch has no option {written}"
    if similar := get_close_matches(bare, SBATCH.long, n=1, cutoff=0.75):
        return Violation(line, text, fix=f"did you mean --{similar[0]}?")
    if written.startswith("--"):
        text = f"Slurm has no option {written}; without a plug-in sbatch refuses it"
        return Violation(line, text, severity=WARNING)
    return Violation(line, text)


@rule(
    "directive-word",
    ERROR,
    fix="write values as --option=value, without blanks; put a comment after #",
    why="sbatch refuses a directive with a word that is neither option nor value, and one"
    " with blanks around `=`",
    source="tried with Slurm 26.05: Invalid directive found in batch script",
)
def directive_word(script: Script) -> Iterator[Violation]:
    """A directive contains a word that belongs to no option"""
    for word in script.directives.malformed:
        yield Violation(word.line, f"{word.text!r} is neither an option nor its value")


@rule(
    "directive-twice",
    WARNING,
    fix="keep one of them",
    why="the last one silently replaces the others",
    source="getopt_long, which sbatch uses",
)
def directive_twice(script: Script) -> Iterator[Violation]:
    """The same option is given twice, with different values"""
    for component in script.directives.components:
        yield from _given_twice(component)


def _given_twice(component: ParsedOptions) -> Iterator[Violation]:
    earlier: dict[str, CommandOption] = {}
    for option in component.options:
        before = earlier.get(option.name)
        earlier[option.name] = option
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
    why="directives are not read by a shell, so variables, `~` and $(...) are not expanded",
    source="sbatch manual; tried with Slurm 26.05",
)
def directive_variable(script: Script) -> Iterator[Violation]:
    """A directive contains a variable, which is not expanded"""
    for option in script.directives.options.options:
        text = option.value.text if option.value else ""
        if option.name not in ("comment", "wrap") and _EXPANSION_RE.search(text):
            yield Violation(option.line, f"Slurm takes {text!r} literally")


@rule(
    "directive-value",
    ERROR,
    fix="write a value that sbatch can read",
    why="sbatch refuses the script; a `#` in a value cuts it off",
    source="sbatch manual, format of each option; tried with Slurm 26.05",
)
def directive_value(script: Script) -> Iterator[Violation]:
    """sbatch cannot read the value of an option"""
    for option in script.directives.options.options:
        text = option.value.text if option.value else None
        form = _VALUE_FORMS.get(option.name)
        if form is None or text is None or _TEMPLATE_RE.search(text):
            continue
        if not form.fullmatch(text):
            is_to_be_filled_in = _TO_BE_FILLED_IN_RE.search(text)
            yield Violation(
                option.line,
                f"{text!r} is no value for {option.written}",
                severity=WARNING if is_to_be_filled_in else "",
            )


@rule(
    "directive-comment",
    NOTE,
    fix="write #SBATCH at the very beginning of the line, or ##SBATCH to disable it",
    why="Slurm reads only lines that begin with exactly `#SBATCH`; all others are comments",
    source="tried with Slurm 26.05",
)
def directive_comment(script: Script) -> Iterator[Violation]:
    """A comment looks like a directive"""
    for line in script.directives.misspelled:
        text = f"Slurm takes this as a comment: {script.lines[line - 1]!r}"
        yield Violation(line, text)


@rule(
    "output-directory",
    WARNING,
    fix="create the directory before you submit",
    why="Slurm opens the job's output before the first line of the script runs; if it"
    " does not create the directory itself (26.05 does), the job ends without a trace",
    source="sbatch manual; tried with Slurm 26.05",
)
def output_directory(script: Script) -> Iterator[Violation]:
    """The script creates the directory of its own output, which is too late"""
    created = {
        posixpath.normpath(word.text)
        for command in script.commands
        if command.name == "mkdir"
        for word in command.args[1:]
    }
    for name in ("output", "error"):
        path = script.directives.options.text(name) or ""
        directory = posixpath.normpath(posixpath.dirname(path))
        if directory in created:
            text = f"{path} is opened before the script creates {directory}"
            yield Violation(script.directives.line_of(name) or 1, text)


@rule(
    "strict-mode",
    WARNING,
    fix="begin with: set -eo pipefail (with u, -euo, if it reads no unset variable)",
    why="without it the script continues after a failure, for example without its module,"
    " and the job has the status of its last command",
    source="sbatch manual; bash manual, the set builtin",
)
def strict_mode(script: Script) -> Iterator[Violation]:
    """The script continues after a failure"""
    commands = script.commands
    if len(commands) < 2 or not any(script.workloads):
        return
    if not any(command.shell_options.errexit for command in commands):
        text = "the script does not end when a command fails"
        yield Violation(commands[0].line, text, fix=_strict_mode_fix(script))


def _strict_mode_fix(script: Script) -> str:
    """Return the advice, with the lines that would end the script under `set -e`."""
    lines = sorted(
        {
            command.line
            for command in script.commands
            if command.context.status_use is StatusUse.COUNTS
            and (command.name in _FAILS_NORMALLY or _reads_to_the_end(command))
        }
    )
    if not lines:
        return ""
    shown = ", ".join(map(str, lines[:5]))
    return (
        f"begin with: set -eo pipefail, and write || true behind what may fail in line"
        f" {shown}"
    )


def _reads_to_the_end(command: Command) -> bool:
    """Whether it is `read -d ''`, whose status is 1 although it has read the text."""
    texts = [word.text for word in command.args]
    return command.name == "read" and any(
        option.startswith("-") and option.endswith("d") and value == ""
        for option, value in pairwise(texts)
    )


@rule(
    "read-errexit",
    ERROR,
    fix="read -r -d '' NAME <<EOF || true, or NAME=$(cat <<EOF ...)",
    why="`read -d ''` finds no null character at the end of the text, and returns 1:"
    " under `set -e` the script ends there, without a message, before its first step",
    source="bash manual, read; tried with bash 5.2",
)
def read_errexit(script: Script) -> Iterator[Violation]:
    """`read -d ''` ends a script under `set -e`"""
    for command in script.commands:
        if (
            command.shell_options.errexit
            and command.context.status_use is StatusUse.COUNTS
            and _reads_to_the_end(command)
        ):
            yield Violation(command.line, "this read returns 1, which ends the script")


@rule(
    "status-lost",
    ERROR,
    needs_batch=True,
    fix="keep its status, status=$?, and at the end exit $status; or make the step the"
    " last command",
    why="the job has the status of its last command: a job whose ranks all failed is"
    " COMPLETED, and jobs that depend on it start",
    source="sbatch manual",
)
def status_lost(script: Script) -> Iterator[Violation]:
    """A command after the step determines the job's status"""
    yield from _lost_program(script)
    last = max(script.workloads, key=lambda run: run.line, default=None)
    for run in script.workloads:
        context, following = run.command.context, run.command.context.next_statement
        if run.is_script and run is not last:
            continue
        if (
            following is None
            or run.command.shell_options.errexit
            or context.status_use is not StatusUse.COUNTS
            or context.is_background
            or context.is_function
            or _keeps_status(script, following)
        ):
            continue
        line = following.line
        if following.is_next_iteration:
            text = f"only the last iteration of the loop in line {line} counts"
        else:
            first = following.text.partition("\n")[0]
            text = f"the status of line {line} counts instead: {first}"
        yield Violation(run.line, text)


def _lost_program(script: Script) -> Iterator[Violation]:
    """Yield the last program of a script if only commands that print follow it.

    It may be any program; those that are known are checked wherever they are.
    """
    known = {id(run.command) for run in script.workloads}
    commands = list(script.commands)
    last = None
    while commands and commands[-1].name in _PRINTING:
        last = commands.pop()
    if last is None or not commands:
        return
    command = commands[-1]
    context, following = command.context, command.context.next_statement
    if (
        following is not None
        and id(command) not in known
        and not is_setup(command.args)
        and command.name not in script.parsed.functions
        and context.status_use is StatusUse.COUNTS
        and not (context.is_background or context.is_function or context.loop)
        and not command.shell_options.errexit
        and not _keeps_status(script, following)
    ):
        first = following.text.partition("\n")[0]
        text = f"the status of line {following.line} counts instead: {first}"
        yield Violation(command.line, text)


def _keeps_status(script: Script, following: NextStatement) -> bool:
    """Whether the next statement uses the status, as far as known."""
    text = following.text
    words = text.split(None, 1)[:1]
    # A function may read the status itself.
    if _BARE_EXIT_RE.match(text) or not script.parsed.functions.isdisjoint(words):
        return True
    if not _READS_STATUS_RE.search(text) or PRINTS_RE.match(text):
        return False
    last = following.line + text.count("\n")
    names = script.command_names(following.line, last)
    if not names.isdisjoint(_ENDING | script.parsed.functions):
        return True
    if words[0] in _TESTS and last >= script.last_line:
        return True
    return not script.used_names.isdisjoint(_ASSIGNED_RE.findall(text))


@rule(
    "status-pipe",
    ERROR,
    needs_batch=True,
    fix="write set -o pipefail before it",
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
            yield Violation(run.line, f"the status of the reader counts: {reader}")


@rule(
    "status-swallowed",
    ERROR,
    needs_batch=True,
    fix="let it fail, or keep the status: srun ... || status=$?",
    why="after `|| true` or `|| echo` the failure is lost, even under set -e",
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
            yield Violation(run.line, f"after a failure this status counts: {first}")


def _always_succeeds(commands: str) -> bool:
    """Whether all commands certainly succeed, and none reads the status."""
    parts = [part.split() for part in BETWEEN_COMMANDS_RE.split(commands)]
    names = {words[0] for words in parts if words}
    return names <= _ALWAYS_SUCCEEDS and not _READS_STATUS_RE.search(commands)


@rule(
    "status-negated",
    ERROR,
    fix="status=0; COMMAND || status=$?",
    why="`!` has replaced the status with 0 before `$?` is read",
    source="measured: rc=0 for a child that exits with 3",
)
def status_negated(script: Script) -> Iterator[Violation]:
    """$? after `if ! command` is always 0"""
    for command in script.commands:
        context = command.context
        if context.status_use is StatusUse.NEGATED and "$?" in context.status_user:
            yield Violation(command.line, "the branch reads $?, which is 0 after `!`")


@rule(
    "status-wait",
    ERROR,
    needs_batch=True,
    fix='keep the ids, pids+=($!), and wait for each: for pid in "${pids[@]}"; do'
    ' wait "$pid"; done',
    why="`wait` without arguments has status 0 even if steps failed",
    source="bash manual, wait; measured",
)
def status_wait(script: Script) -> Iterator[Violation]:
    """`wait` alone discards the status of background steps"""
    waits = [command for command in script.commands if command.name == "wait"]
    if any(len(command.args) > 1 for command in waits):
        return
    lines = sorted(run.line for run in script.workloads if run.is_background)
    for command in waits:
        if before := bisect_left(lines, command.line):
            text = f"the step of line {lines[before - 1]} may fail unnoticed"
            yield Violation(command.line, text)


@rule(
    "status-async",
    ERROR,
    fix="srun ... & and wait for its id, or leave --async out",
    why="srun --async returns as soon as the step is submitted, with status 0 whatever"
    " becomes of it",
    source="Slurm 26.05, srun manual",
)
def status_async(script: Script) -> Iterator[Violation]:
    """srun --async does not return the step's status"""
    for run in script.steps:
        if run.srun.has("async"):
            yield Violation(run.line, "this srun returns 0 before the step has ended")


@rule(
    "status-chain",
    NOTE,
    fix="test for a file that the step writes at its end as well",
    why="before 26.05.2 a step that ended before its first task started left the status"
    " 0:0, so that what depends on it starts",
    source="Slurm change log, 26.05.2",
)
def status_chain(script: Script) -> Iterator[Violation]:
    """Another job is started if the status is 0"""
    last = max((run.line for run in script.steps if not run.is_utility), default=None)
    for command in script.commands:
        is_later = last is not None and command.line >= last
        if command.name == "sbatch" and is_later:
            text = "Slurm 26.05.0 and 26.05.1 may report 0 for a step that never began"
            yield Violation(command.line, text)


TOPICS = {
    "Script file": (
        batch_system,
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
        directive_value,
        directive_comment,
        output_directory,
    ),
    "Exit status": (
        strict_mode,
        read_errexit,
        status_lost,
        status_pipe,
        status_swallowed,
        status_negated,
        status_wait,
        status_async,
        status_chain,
    ),
}
