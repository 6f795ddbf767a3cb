"""Exit status: jobs that end with 0 although a step has failed."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator

from jaxsif.lint.commands import StatusUse
from jaxsif.lint.rule import ERROR, WARNING, Violation, rule
from jaxsif.lint.script import Script

_LOOKS = re.compile(r"\$\?|\$\{\?\}|PIPESTATUS")
_BARE_EXIT = re.compile(r"exit\s*$")
# What an answer to a failure begins its commands with, if it leaves nothing of it.
_HARMLESS = {"true", ":", "echo", "printf", "date", "sleep"}
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
    if len(commands) < 2 or not any(script.work):
        return
    if not any(command.modes.errexit for command in commands):
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
    for launch in script.work:
        command, place = launch.command, launch.command.place
        follower = place.follower
        if (
            follower is None
            or command.modes.errexit
            or place.fate is not StatusUse.COUNTS
            or place.is_background
            or place.is_function
            or _LOOKS.search(follower.text)
            or _BARE_EXIT.match(follower.text)
            # It may look at the status itself.
            or not script.functions.isdisjoint(follower.text.split(None, 1)[:1])
        ):
            continue
        if follower.is_again:
            text = f"only the last turn of the loop in line {follower.line} counts"
        else:
            first = follower.text.partition("\n")[0]
            text = f"what counts is the status of line {follower.line}: {first}"
        yield Violation(launch.line, text)


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
    for launch in script.work:
        place = launch.command.place
        if place.fate is StatusUse.PIPED:
            reader = place.reader.partition("\n")[0]
            yield Violation(launch.line, f"what counts is the status of: {reader}")


@rule(
    "status-swallowed",
    ERROR,
    fix="let it fail, or keep the status: srun ... || status=$?",
    why="a failure that is answered with true or echo is none any more, also under set -e",
    source="bash manual, lists",
)
def status_swallowed(script: Script) -> Iterator[Violation]:
    """|| turns the step's failure into a success"""
    for launch in script.work:
        place = launch.command.place
        answer = place.otherwise
        is_answered = place.fate is StatusUse.TESTED and answer and not place.branch
        if is_answered and _is_harmless(answer):
            first = answer.partition("\n")[0]
            yield Violation(
                launch.line, f"after a failure the status is that of: {first}"
            )


def _is_harmless(answer: str) -> bool:
    """Whether all commands of an answer certainly succeed, and none looks at the status."""
    commands = [part.split() for part in _BETWEEN_COMMANDS.split(answer)]
    names = {words[0] for words in commands if words}
    return names <= _HARMLESS and not _LOOKS.search(answer)


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
        place = command.place
        if place.fate is StatusUse.NEGATED and _STATUS.search(place.branch):
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
    if any(len(command.words) > 1 for command in waits):
        return
    steps = [launch for launch in script.work if launch.command.place.is_background]
    lines = sorted(launch.line for launch in steps)
    for command in waits:
        before = bisect_left(lines, command.line)
        if before:
            line = lines[before - 1]
            yield Violation(command.line, f"the step of line {line} may fail unnoticed")


RULES = (
    strict_mode,
    status_lost,
    status_pipe,
    status_swallowed,
    status_negated,
    status_wait,
)
