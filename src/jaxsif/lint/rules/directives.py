"""#SBATCH lines, which Slurm parses by its own rules."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from difflib import get_close_matches

from jaxsif.lint.options import Option
from jaxsif.lint.rule import ERROR, NOTE, WARNING, Violation, rule
from jaxsif.lint.script import Script
from jaxsif.lint.tables import SBATCH, SRUN
from jaxsif.lint.words import is_unknown


@rule(
    "directive-late",
    ERROR,
    fix="move it above the first command",
    why="sbatch stops reading directives at the first line that is neither blank nor a"
    " comment; what follows is silently ignored",
    source="sbatch manual; tried with Slurm 26.05",
)
def late(script: Script) -> Iterator[Violation]:
    """A directive is after the first command"""
    first = script.directives.first_command
    for line in script.directives.late:
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
def unknown(script: Script) -> Iterator[Violation]:
    """sbatch does not know the option, or misses its value"""
    for option in script.directives.options.given:
        if option.fault:
            yield _explain(option)


def _explain(option: Option) -> Violation:
    written = option.written
    if option.fault == "no value":
        return Violation(option.line, f"{written} has no value", fix="give it one")
    bare = written.lstrip("-")
    if option.fault == "ambiguous":
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
def word(script: Script) -> Iterator[Violation]:
    """A directive contains a word that belongs to no option"""
    for stray in script.directives.strays:
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
def twice(script: Script) -> Iterator[Violation]:
    """The same option is given twice, with different values"""
    seen: dict[str, Option] = {}
    if script.directives.is_heterogeneous:
        return
    for option in script.directives.options.given:
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
def variable(script: Script) -> Iterator[Violation]:
    """A directive contains a variable, which is not expanded"""
    for option in script.directives.options.given:
        text = option.value.text if option.value else ""
        if option.name not in ("comment", "wrap") and (
            is_unknown(text) or text.startswith("~/")
        ):
            yield Violation(option.line, f"Slurm takes {text!r} as it stands")


@rule(
    "directive-comment",
    NOTE,
    fix="write #SBATCH at the very beginning of the line, or ##SBATCH to switch it off",
    why="Slurm reads only lines that begin with exactly `#SBATCH`; all others are comments",
    source="tried with Slurm 26.05",
)
def comment(script: Script) -> Iterator[Violation]:
    """A comment looks like a directive"""
    for line in script.directives.comments:
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
        for word in command.words[1:]
    }
    for name in ("output", "error"):
        path = script.directives.options.text(name) or ""
        folder = posixpath.normpath(posixpath.dirname(path))
        if folder in made:
            line = script.directives.line_of(name) or 1
            yield Violation(line, f"{path} is opened before the script makes {folder}")


RULES = (late, unknown, word, twice, variable, comment, output_folder)
