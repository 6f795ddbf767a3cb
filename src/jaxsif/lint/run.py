"""`jax-sif lint`: reads scripts, shows what is wrong with them, and returns the exit status; runs on a login node or anywhere."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from typing import BinaryIO

from jaxsif.core import strict_json
from jaxsif.core.errors import FAIL, PASS, UsageError
from jaxsif.lint import report
from jaxsif.lint.examine import examine
from jaxsif.lint.rule import ERROR, WARNING
from jaxsif.lint.rules import TOPICS
from jaxsif.lint.sarif import as_sarif

TEXT, JSON, SARIF = "text", "json", "sarif"
STANDARD_INPUT = "stdin"

# As Slurm itself: SchedulerParameters=max_script_size.
_MOST_BYTES = 4 << 20
# What makes a text a script: it says who reads it, asks for something, or starts it.
_SIGN = re.compile(
    r"^(?:\ufeff?#!|#SBATCH|(?:srun|singularity|apptainer)\s)", re.MULTILINE
)


def lint(scripts: Sequence[str], *, form: str, is_strict: bool) -> int:
    """Examines the scripts, shows the findings, and returns the exit status.

    Args:
      scripts: paths, or `-` for standard input.
      form: TEXT, JSON or SARIF.
      is_strict: whether warnings fail too.

    Raises:
      UsageError: a script cannot be read, or is none.
    """
    texts = {_name(script): _read(script) for script in dict.fromkeys(scripts)}
    found = {name: examine(text) for name, text in texts.items()}
    if form == TEXT:
        shown = report.text(found)
    else:
        facts = report.as_json(found) if form == JSON else as_sarif(found)
        shown = strict_json.encode(facts)
    # A file's name may hold anything.
    sys.stdout.buffer.write(shown.encode(errors="backslashreplace"))
    sys.stdout.flush()
    counts = report.count(found)
    is_bad = counts[ERROR] or (is_strict and counts[WARNING])
    return FAIL if is_bad else PASS


def show_rules() -> int:
    """Lists every rule."""
    sys.stdout.write(report.rules_text(TOPICS))
    sys.stdout.flush()
    return PASS


def _name(script: str) -> str:
    return STANDARD_INPUT if script == "-" else script


def _read(script: str) -> str:
    """The text of a script. What is no UTF-8 in it becomes a mark that harms nobody."""
    try:
        with _open(script) as source:
            raw = source.read(_MOST_BYTES + 1)
    except FileNotFoundError as error:
        raise UsageError(_missing(script)) from error
    except OSError as error:
        raise UsageError(
            f"cannot read the script {script!r}: {error.strerror}; give the path of a"
            " job script, or - for standard input"
        ) from error
    if len(raw) > _MOST_BYTES:
        raise UsageError(
            f"the script {script!r} has more than {_MOST_BYTES >> 20} MiB, which Slurm"
            " refuses too; is it the right file?"
        )
    text = raw.decode(errors="replace")
    _refuse_others(script, raw, text)
    return text


def _open(script: str) -> BinaryIO:
    return os.fdopen(os.dup(0), "rb") if script == "-" else open(script, "rb")


def _missing(script: str) -> str:
    """A container sees only what is mounted into it, mostly home and current folder."""
    if not _is_in_container():
        return (
            f"there is no file {script!r}; give the path of a job script, or - for"
            " standard input"
        )
    return (
        f"there is no file {script!r} in the container; if it is there outside, its"
        " folder is not mounted, and standard input always is:"
        f" jax-sif lint - < {script}"
    )


def _is_in_container() -> bool:
    return any(
        name in os.environ for name in ("APPTAINER_CONTAINER", "SINGULARITY_CONTAINER")
    )


def _refuse_others(script: str, raw: bytes, text: str) -> None:
    if not raw.strip():
        raise UsageError(f"the script {script!r} is empty; give a job script")
    if b"\0" in raw:
        raise UsageError(
            f"{script!r} is a binary file, no script; give the path of a job script"
        )
    if not _SIGN.search(text):
        raise UsageError(
            f"{script!r} is no job script: it has neither a shebang nor a line #SBATCH"
            " nor a step; give the file that you hand to sbatch"
        )
