"""The catalogue of causes: what lines of a job's output mean."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from string import Formatter
from typing import Annotated, Literal

import msgspec
import tomllib
from msgspec import Meta

from jaxsif.logs import error_lines

# In order of precedence: a cause comes before all symptoms, wherever it is in the log.
ROLES = ("cause", "symptom", "note", "follows", "fact")
Role = Literal["cause", "symptom", "note", "follows", "fact"]

# A piece of a log without any of these needs no search for causes. A signature that
# contains none of them is its own trigger.
_TRIGGERS = (
    "NCCL WARN",
    "jax-sif",
    "unexpectedly tried",
    "oordination",
    "CUDA_ERROR_",
    "cudaError",
    "hipError",
    "HIP_ERROR_",
    "cuda_d",
    "NVRM: Xid (PCI:",
    "rendezvous.cc",
    "parse_flags_from_env",
    ": line ",
    "[Errno ",
    "pyxis: ",
    "MPI_",
    "PMI",
    "denied",
    "o space left on device",
    "Disk quota exceeded",
    "Name or service not known",
    "Barrier timed out. Id: ",
    *(trigger.decode() for trigger in error_lines.TRIGGERS),
    "srun: ",
)
_GROUP = re.compile(r"\(\?P<(\w+)>")
# With fewer literal characters a signature is not distinctive, and searching is slow.
MIN_LITERAL_CHARS = 7


@dataclass(frozen=True)
class Pattern:
    """A regular expression for one line, and the literal texts that it contains."""

    pattern: str
    texts: tuple[str, ...]

    @property
    def longest(self) -> str:
        return max(self.texts, key=len)


class Beside(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a row means if the log has one of other rows, too: empty fields stay."""

    ids: str
    cause: str = ""
    remedy: str = ""
    role: Role | None = None


class Cause(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One row of the catalogue; the fields are explained at its top."""

    id: Annotated[str, Meta(pattern="^[a-z0-9]+(-[a-z0-9]+)+$")]
    signature: tuple[Pattern, ...]
    cause: str
    remedy: str
    source: str
    confidence: Literal["certain", "likely", "possible"]
    examples: Annotated[tuple[str, ...], Meta(min_length=1)]
    role: Role = "cause"
    errors: tuple[str, ...] = ()
    beside: tuple[Beside, ...] = ()
    if_failed: bool = False
    followed_by: tuple[str, ...] = ()
    max_lines: int = 3
    requires_followup: bool = False
    ranks: tuple[int, ...] = ()
    task_exit: bool = False

    def __post_init__(self) -> None:
        """Refuse a sentence with a {field} that a matching line does not provide."""
        later = "".join(self.followed_by) if self.requires_followup else ""
        for signature in self.signature:
            known = {"who", *_GROUP.findall(signature.pattern + later)}
            for _, name, _, _ in Formatter().parse(self.cause):
                if name is not None and name not in known:
                    raise ValueError(f"{{{name}}} is no group of {signature.pattern!r}")

    @property
    def names_ranks(self) -> bool:
        """Whether its lines name the ranks concerned."""
        patterns = [*(one.pattern for one in self.signature), *self.followed_by]
        return bool(self.ranks) or any("(?P<rank" in pattern for pattern in patterns)


@dataclass(frozen=True)
class Match:
    """The cause of a line, the facts that the line names, and where in it they begin."""

    cause: Cause
    fields: Mapping[str, str]
    at: int = 0


class Catalogue:
    """All causes, indexed so that a line without one costs little."""

    def __init__(self, causes: tuple[Cause, ...]) -> None:
        self.causes = causes
        # trigger -> what to look for in a line that contains it
        self._rows: dict[str, list[tuple[int, str, str]]] = defaultdict(list)
        for order, cause in enumerate(causes):
            for signature in cause.signature:
                row = (order, signature.longest, signature.pattern)
                self._rows[_trigger(signature)].append(row)

    @property
    def triggers(self) -> tuple[bytes, ...]:
        """A line without any of these has no cause."""
        return tuple(trigger.encode() for trigger in self._rows)

    def match(self, line: str) -> Match | None:
        """The first cause, in the order of the catalogue, that fits the line."""
        if len(line) < MIN_LITERAL_CHARS:
            return None
        candidates = [
            (order, pattern, text)
            for trigger, rows in self._rows.items()
            if trigger in line
            for order, text, pattern in rows
            if text in line
        ]
        for order, pattern, text in sorted(candidates):
            found = compiled(pattern).search(line)
            if found:
                at = max(found.start(), line.find(text))
                return Match(self.causes[order], fields_of(found), at)
        return None


# Maximum length of a repeat.
_MAX_REPEAT = 200


# Compiling all of them would take longer than reading most logs.
@cache
def compiled(pattern: str) -> re.Pattern[str]:
    """Compile the pattern so that matching is linear in the length of the line."""
    return re.compile(linear(pattern))


def linear(pattern: str) -> str:
    """Return the pattern with bounded repeats, and one search per part between `.*`.

    If the next part is missing, the part before it is not searched for again further
    on, because the next would be missing there as well. A pattern with ^ starts only
    once.
    """
    if pattern.startswith("^"):
        return pattern
    parts, depth = [""], 0
    for token in _ELEMENT.finditer(pattern):
        element, repeat = token[1], token[2] or ""
        depth += (element == "(") - (element == ")")
        if token[0] == ".*" and depth == 0:
            parts.append("")
            continue
        bound = {"*": f"{{0,{_MAX_REPEAT}}}", "+": f"{{1,{_MAX_REPEAT}}}"}.get(
            repeat, repeat
        )
        parts[-1] += element + bound + token[0][len(element + repeat) :]
    if len(parts) == 1:
        return parts[0]
    return r"\A" + "".join(f"(?>.*?{part})" for part in parts)


def fields_of(found: re.Match[str]) -> dict[str, str]:
    """The named groups that matched."""
    return {k: v.strip() for k, v in found.groupdict().items() if v is not None}


@cache
def load() -> Catalogue:
    """The catalogue that comes with the kit."""
    text = resources.files("jaxsif.logs").joinpath("catalogue.toml").read_text("utf-8")
    return parse(text)


def parse(text: str) -> Catalogue:
    """Parse a catalogue. Raises ValueError that names the row and its mistake."""
    causes: dict[str, Cause] = {}
    for row in tomllib.loads(text)["cause"]:
        try:
            spelled = [s for error in row.get("errors", ()) for s in spellings(error)]
            row["signature"] = tuple(
                map(_signature, [*row.get("signature", ()), *spelled])
            )
            if not row["signature"]:
                raise ValueError("it needs a signature or errors")
            cause = msgspec.convert(row, Cause)
        except (KeyError, ValueError) as error:
            raise ValueError(f"cause {row.get('id')!r}: {error}") from error
        if cause.id in causes:
            raise ValueError(f"two causes have the id {cause.id!r}; rename one")
        causes[cause.id] = cause
    return Catalogue(tuple(causes.values()))


def spellings(error: str) -> list[str]:
    """The signatures of an error that programs print by name, or in words after theirs."""
    text = re.escape(error).replace("\\ ", " ")
    if re.fullmatch(r"\w+", error):
        return [rf"{text}\b"]
    return [rf"{before}.*{text}" for before in ("rror", "ailed", "ailure ")]


def _signature(pattern: str) -> Pattern:
    texts = literal_substrings(pattern)
    if max(map(len, texts), default=0) < MIN_LITERAL_CHARS:
        raise ValueError(
            f"{pattern!r} has no {MIN_LITERAL_CHARS} plain characters in a row"
        )
    return Pattern(pattern, texts)


def _trigger(signature: Pattern) -> str:
    shared = [t for t in _TRIGGERS if any(t in text for text in signature.texts)]
    return (shared or [signature.longest])[0]


# One element of a regular expression: a class, an escape or a character; and how often.
_ELEMENT = re.compile(r"(\[(?:\\.|[^\]\\])*\]|\\.|.)([*+?]|\{[^}]*\})?\??", re.DOTALL)


def literal_substrings(pattern: str) -> tuple[str, ...]:
    """Return literal texts that every match of `pattern` contains.

    Groups are skipped. Raises ValueError for alternatives outside
    of groups, which would make none of it certain.
    """
    texts, run, depth = [], "", 0
    for element, repeat in _ELEMENT.findall(pattern):
        if element == "|" and depth == 0:
            raise ValueError(
                f"{pattern!r}: write two signatures, or put the | in a group"
            )
        depth += (element == "(") - (element == ")")
        character = _literal_char(element) if depth == 0 else None
        if character is not None and repeat in ("", "+"):
            run += character
        if character is None or repeat:
            texts.append(run)
            run = ""
    return tuple(text for text in [*texts, run] if text)


def _literal_char(element: str) -> str | None:
    """The character that an element matches; None if it may match several."""
    if element.startswith("\\"):
        return None if element[1].isalnum() else element[1]
    return None if len(element) > 1 or element in ".^$()[]|" else element
