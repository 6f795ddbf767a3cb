"""`jax-sif explain`: name the causes of a job's failure from any program's logs."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, BinaryIO

from jaxsif.core.errors import COULD_NOT_TELL, PASS, SYMPTOMS_ONLY, UsageError

if TYPE_CHECKING:
    from jaxsif.logs.scanner import LogScanner

_STATUS = {"cause": PASS, "symptom": SYMPTOMS_ONLY, "nothing": COULD_NOT_TELL}
_ID = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)+")
_CHUNK_BYTES = 1 << 20
# Signatures of compressed files.
_COMPRESSED = {
    b"\x1f\x8b": "zcat",
    b"\xfd7zXZ\x00": "xzcat",
    b"BZh": "bzcat",
    b"\x28\xb5\x2f\xfd": "zstdcat",
}
# Terminals' own: bell, backspace, tab, newline, vertical tab, form feed, return, escape.
_TEXT_CONTROLS = b"\a\b\t\n\v\f\r\x1b"
_BINARY_CONTROLS = bytes(set(range(32)) - set(_TEXT_CONTROLS))
_BINARY_SHARE = 0.02


def main(arguments: Sequence[str]) -> int:
    """Parse the options and explain the output."""
    parser = argparse.ArgumentParser(
        prog="jax-sif explain",
        description="Names the causes of a failure from the output of a job, even if the"
        " job did not use jax-sif.",
        epilog="Exit status: 0 a cause was found, 2 usage error, 3 nothing was found, 4"
        " only symptoms: that something failed, and not why.",
    )
    parser.add_argument(
        "log",
        nargs="*",
        help="outputs of one job; - for standard input; or the id of a cause, to be shown",
    )
    parser.add_argument("--list", action="store_true", help="list all known causes")
    parser.add_argument(
        "--format", choices=("text", "json"), default="text", help="default: text"
    )
    chosen = parser.parse_args(arguments)
    if chosen.list != (not chosen.log):
        parser.error("give outputs of a job, the id of a cause, or --list")
    if chosen.list:
        return _list()
    if _show(chosen.log):
        return PASS
    return explain(chosen.log, is_json=chosen.format == "json")


def _list() -> int:
    """Print all ids and sentences of the catalogue."""
    from jaxsif.logs import catalogue, render

    sys.stdout.write(render.ids(catalogue.load()))
    return PASS


def _show(names: Sequence[str]) -> bool:
    """Print the rows of the catalogue that are named; false if one is no id."""
    if any(os.path.lexists(name) or not _ID.fullmatch(name) for name in names):
        return False
    from jaxsif.logs import catalogue, render

    known = {cause.id: cause for cause in catalogue.load().causes}
    if any(name not in known for name in names):
        return False
    sys.stdout.write("".join(render.entry(known[name]) for name in names))
    return True


def explain(logs: Sequence[str], *, is_json: bool) -> int:
    """Print the causes found in the logs, and return the exit status."""
    from jaxsif.logs import render
    from jaxsif.logs.scanner import LogScanner

    scanner = LogScanner()
    binary = [log for log in logs if not _scan(scanner, log)]
    diagnosis = scanner.diagnosis()
    if is_json:
        from jaxsif.core import strict_json

        sys.stdout.write(strict_json.encode(render.as_json(diagnosis, logs)))
    else:
        sys.stdout.write(render.text(diagnosis, logs, binary))
    sys.stdout.flush()
    return _STATUS[diagnosis.outcome]


def _scan(scanner: LogScanner, log: str) -> bool:
    """Read one log, and return whether it is text."""
    scanner.open(log)
    first = b""
    with _open(log) as source:
        for chunk in _chunks(source):
            if not first:
                first = chunk[: 1 << 16]
                _refuse_compressed(log, first)
            scanner.feed(chunk)
    if not first:
        raise UsageError(f"the log {log!r} is empty; give the path of a job's output")
    controls = len(first) - len(first.translate(None, _BINARY_CONTROLS))
    return controls < _BINARY_SHARE * len(first)


def _open(log: str) -> BinaryIO:
    try:
        if log == "-":
            return os.fdopen(os.dup(sys.stdin.fileno()), "rb", buffering=0)
        return open(log, "rb", buffering=0)
    except OSError as error:
        raise UsageError(
            f"cannot read the log {log!r}: {error.strerror}; give the path of a job's"
            " output, or - for standard input"
        ) from error


def _chunks(source: BinaryIO) -> Iterator[bytes]:
    while chunk := source.read(_CHUNK_BYTES):
        yield chunk


def _refuse_compressed(log: str, first: bytes) -> None:
    for magic, program in _COMPRESSED.items():
        if first.startswith(magic):
            raise UsageError(
                f"the log {log!r} is compressed; unpack it on the way:"
                f" {program} {log} | jax-sif explain -"
            )
