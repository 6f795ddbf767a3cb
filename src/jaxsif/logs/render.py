"""Renders a diagnosis as text and as JSON."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from jaxsif.core.text import MAX_FINDINGS, not_shown, shortened
from jaxsif.logs.catalogue import Catalogue, Cause
from jaxsif.logs.diagnosis import Diagnosis, LogCause
from jaxsif.logs.error_lines import Line

SCHEMA = "jax-sif/explanation/1"

# How many lines without a known cause are shown, with a cause and without.
_BESIDE_A_CAUSE = 3
_WITHOUT_A_CAUSE = 8
# With fewer, the end of the output is shown as well.
_FEW = 3
_MAX_LINE_CHARS = 400

_HINT = (
    "check the job's other logs (scontrol show job lists StdOut and StdErr), or run it"
    " again with srun --label --unbuffered, TF_CPP_MIN_LOG_LEVEL=0 and NCCL_DEBUG=WARN,"
    " and explain that output"
)


def text(diagnosis: Diagnosis, logs: Sequence[str], binary: Sequence[str] = ()) -> str:
    """Format the diagnosis, the first cause on top; or that no cause is known.

    Args:
      logs: their names; shown with each line if there are several.
      binary: those among them that are not text.
    """
    several = len(logs) > 1
    lines = _headline(diagnosis, logs, binary)
    has_cause = diagnosis.outcome == "cause"
    if not binary and not has_cause:
        lines += _error_lines(diagnosis.error_lines[:_WITHOUT_A_CAUSE], several)
    for number, found in enumerate(diagnosis.causes[:MAX_FINDINGS], 1):
        lines += _cause(number, found, several)
    lines += not_shown(MAX_FINDINGS, len(diagnosis.causes), "cause")
    if has_cause:
        lines += _error_lines(diagnosis.error_lines[:_BESIDE_A_CAUSE], several)
    if not binary and not has_cause and len(diagnosis.error_lines) < _FEW:
        lines.append("the last lines:")
        lines += [f"   {shortened(line)}" for line in diagnosis.last_lines]
    if diagnosis.consequences:
        lines.append("only follows from another failure:")
    for found in diagnosis.consequences[:MAX_FINDINGS]:
        times = "once" if found.count == 1 else f"{found.count} times"
        where = _where(found.line, several)
        lines.append(f"   {found.cause.id}, {times} from {where}: {found.text}")
    return "\n".join([*lines, *_records(diagnosis, logs)]) + "\n"


def _headline(
    diagnosis: Diagnosis, logs: Sequence[str], binary: Sequence[str]
) -> list[str]:
    """What is not known, and what to do about it; nothing if a cause is known."""
    if binary and diagnosis.outcome != "cause":
        return [
            f"not recognised: {', '.join(binary)} is not text",
            "   -> give the output of a job: the file that sbatch --output or srun"
            " --output names",
        ]
    if diagnosis.outcome == "symptom":
        return ["no known cause, only symptoms"]
    if diagnosis.outcome == "nothing":
        count = f"{diagnosis.lines:,} lines of {', '.join(logs)}"
        return [
            f"not recognised: {count} contain no known cause of a failure",
            f"   -> {_HINT}",
        ]
    return []


def _error_lines(lines: Sequence[Line], several: bool) -> list[str]:
    """Lines that have no known cause, and look like errors."""
    if not lines:
        return []
    quotes = [f"   {_quote(line, several)}" for line in lines]
    return ["lines that look like errors, the most telling first:", *quotes]


def _cause(number: int, found: LogCause, several: bool) -> list[str]:
    cause = found.cause
    times = "" if found.count == 1 else f", {found.count} times"
    return [
        f"{number}. {found.text}",
        f"   {_quote(found.line, several)}",
        f"   -> {cause.remedy}",
        f"   {cause.confidence} {found.role} {cause.id}{times}; source: {cause.source}",
    ]


def _quote(line: Line, several: bool) -> str:
    return f"{_where(line, several)}: {shortened(line.text, _MAX_LINE_CHARS)}"


def _where(line: Line, several: bool) -> str:
    return f"{line.log} line {line.number}" if several else f"line {line.number}"


def _records(diagnosis: Diagnosis, logs: Sequence[str]) -> list[str]:
    lines = []
    if diagnosis.records:
        lines.append(
            f"{diagnosis.records} of the kit's records in it: jax-sif verify {logs[0]}"
            " gives the verdict, rank by rank"
        )
    if diagnosis.other_version_records:
        lines.append(
            f"{diagnosis.other_version_records} records of an older or newer kit in it: only its own"
            " jax-sif can read them"
        )
    return lines


def as_json(diagnosis: Diagnosis, logs: Sequence[str]) -> dict[str, Any]:
    """Return the same values for JSON."""
    return {
        "schema": SCHEMA,
        "logs": list(logs),
        "lines": diagnosis.lines,
        "records": diagnosis.records,
        "other_version_records": diagnosis.other_version_records,
        "outcome": diagnosis.outcome,
        "findings": [
            {
                "id": found.cause.id,
                "text": found.text,
                "remedy": found.cause.remedy,
                "source": found.cause.source,
                "confidence": found.cause.confidence,
                "role": found.role,
                "ranks": list(found.ranks),
                "nodes": list(found.nodes),
                "count": found.count,
                **_line_as_json(found.line),
            }
            for found in diagnosis.recognised
        ],
        "error_lines": [_line_as_json(line) for line in diagnosis.error_lines],
    }


def _line_as_json(line: Line) -> dict[str, Any]:
    return {"log": line.log, "line_number": line.number, "line": line.text}


def entry(cause: Cause) -> str:
    """Format one row of the catalogue: what it means, the remedy, messages, the source."""
    lines = [
        f"{cause.id}: {_sentence(cause)}",
        f"   -> {cause.remedy}",
        f"   {cause.confidence} {cause.role}; source: {cause.source}",
        "   messages, for example:",
        *(f"      {line}" for e in cause.examples for line in e.splitlines()),
    ]
    return "\n".join(lines) + "\n"


def ids(catalogue: Catalogue) -> str:
    """List the rows of the catalogue, one a line."""
    return "".join(f"{cause.id}: {_sentence(cause)}\n" for cause in catalogue.causes)


def _sentence(cause: Cause) -> str:
    """The cause with the names of its facts in capitals."""
    return re.sub(r"\{(\w{1,30})(?:![rs])?\}", lambda m: m[1].upper(), cause.cause)


# The pages of docs/causes/: title, and the first words of the ids on it.
PAGES = {
    "jax": ("JAX and its libraries", "jax xla orbax flax numpyro alphafold program"),
    "gpu": ("CUDA, ROCm, GPUs", "cuda cudnn gpu rocm xid"),
    "nccl": ("NCCL, RCCL, gloo", "nccl rccl gloo"),
    "slurm": ("Slurm", "slurm"),
    "shell": ("The batch shell, modules, conda", "shell module conda"),
    "mpi": ("MPI", "mpi"),
    "container": ("Containers and images", "container image enroot podman"),
    "host": ("Python and the node", "python host"),
    "kit": ("jax-sif", "kit"),
}


def _group(cause: Cause) -> str:
    return cause.id.partition("-")[0]


def table(catalogue: Catalogue) -> str:
    """Format the catalogue for docs/explain.md: the ids of each group, with links."""
    rows = []
    for name, (title, words) in PAGES.items():
        links = [
            f"[`{cause.id}`](causes/{name}.md#{cause.id})"
            for cause in catalogue.causes
            if _group(cause) in words.split()
        ]
        rows.append(f"| [{title}](causes/{name}.md) | {' '.join(links)} |")
    return "\n".join(["| | Causes |", "|---|---|", *rows]) + "\n"


def page(catalogue: Catalogue, name: str) -> str:
    """Format docs/causes/NAME.md: message, meaning, remedy and source of each id."""
    title, words = PAGES[name]
    lines = [
        f"# {title}: messages",
        "",
        "Made from the catalogue of [`jax-sif explain`](../explain.md) by"
        " `python tools/causes_page.py`.",
    ]
    for cause in catalogue.causes:
        if _group(cause) not in words.split():
            continue
        examples = [line for e in cause.examples for line in e.splitlines()]
        lines += [
            "",
            f"## {cause.id}",
            "",
            *(f"    {line}".rstrip() for line in examples),
            "",
            f"Meaning: {_escaped(_sentence(cause))}. A {cause.confidence} {cause.role}.",
            "",
            f"Remedy: {_escaped(cause.remedy)}.",
            "",
            f"Source: {_escaped(cause.source)}.",
        ]
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    """Text for Markdown: what it would take for markup stands as it is."""
    parts = text.split("`")
    parts[::2] = [re.sub(r"([*_<>\[\]#$\\])", r"\\\1", part) for part in parts[::2]]
    return "`".join(parts)
