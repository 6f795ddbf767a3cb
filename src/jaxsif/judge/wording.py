"""How a line of a job's output is put: who said it, which ranks it names, whether it sounds bad; pure, runs beside a job or after it."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from collections.abc import Iterator

# No range in a line makes more ranks than anyone has.
_MOST_RANKS = 1 << 16

_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_LABEL = re.compile(r"\s*(\d{1,7})(?::(?: |$)| [\w.-]+\| )")
# From Slurm 26.05 on the time stands where slurmstepd's name stood.
_SLURMSTEPD = re.compile(r"^\[\d{4}-\d\d-\d\dT[\d:.]+\] error: ")
_NUMBERS = re.compile(r"\b(\d{1,7})(?:-(\d{1,7}))?\b")
_BY_SLURM = re.compile(r"\b(?:slurmstepd|slurmd|srun|sbatch)\b[^ ]*: ")
_NCCL_HOST = re.compile(r"(?:^|\s)([\w.-]+):\d+:\d+ \[\d+\] .*NCCL WARN")
# Neither the metrics of a program that is well ("error 0.02") nor what is only told for
# information, as the names of backends that JAX does not find.
_LOOKS_BAD = re.compile(
    r"[a-z]Error\b|\b(?i:error)\b(?!\s*[:=]?\s*[\d.-]|\s+rate)"
    r"|\b(?i:fatal|failed|failure|exception|aborted|killed|denied)\b"
)
_INFORMS = re.compile(r"I\d{4} |INFO\b")


def without_label(text: str) -> tuple[str, str]:
    """The rank that a launcher's --label puts before a line, or "", and the line itself.

    What slurmstepd says begins with its name, whatever Slurm's version.
    """
    if "\x1b" in text:
        text = _COLOUR.sub("", text)
    label = _LABEL.match(text)
    who, said = (label[1], text[label.end() :]) if label else ("", text)
    if said.startswith("["):
        said = _SLURMSTEPD.sub("slurmstepd: error: ", said)
    return who, said


def is_slurms(text: str) -> bool:
    """Whether Slurm said it, so that the label tells nothing about who is concerned."""
    return bool(_BY_SLURM.search(text))


def nccl_host(text: str) -> str | None:
    """The node on which NCCL gave a warning."""
    found = _NCCL_HOST.search(text)
    return found[1] if found else None


def numbers(text: str) -> Iterator[int]:
    """The ranks in `5`, `0-3,7` or `28 4`."""
    for first, last in _NUMBERS.findall(text):
        end = min(int(last or first), int(first) + _MOST_RANKS)
        yield from range(int(first), end + 1)


def looks_bad(text: str) -> bool:
    """Whether a person would take the line for an error."""
    return bool(_LOOKS_BAD.search(text)) and not _INFORMS.match(text)


def printable(text: str) -> str:
    """A log may hold anything; a terminal is not to obey it."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
