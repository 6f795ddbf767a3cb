"""Runs a build and publishes its result atomically; used by tools/ on the host."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import placing
from builder import Builder
from errors import ClusterError
from versions import UsageError, image_name

FIRST_STAGE = "base"
# Lines of the output that begin a stage; image_post.sh names its own.
STAGE_MARK = "==> "
# Lines shown to the user of the build (image_debian.py).
NOTE_MARK = "==! "
MARKS = {
    "Running testscript": "test",
    "RUN python -B /opt/jax-sif/image_test.py": "test",
    "Creating SIF file": "compression",
    "COMMIT jax-sif:": "commit",
}
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
NO_SPACE = ("No space left on device", "Disk quota exceeded")
TAIL_LINES = 20
# Identity and time of an image, and where its data lie.
SIF_HEADER_BYTES = 128
GRACE_S = 15


class BuildError(Exception):
    """The build cannot continue; the message has the remedy."""


class Interrupted(Exception):
    """One of SIGNALS came."""


def _interrupt(number: int, _frame: object) -> NoReturn:
    for other in SIGNALS:
        # Tidying up must not be cut short.
        signal.signal(other, signal.SIG_IGN)
    raise Interrupted(number)


def run_tool(name: str, build: Callable[[], None]) -> int:
    """Calls build; turns what it raises into one message and an exit status."""
    for number in SIGNALS:
        # nohup ignores SIGHUP, and a shell's background job SIGINT.
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _interrupt)
    try:
        build()
    except UsageError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2
    except (BuildError, ClusterError, OSError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    except Interrupted as interruption:
        print(f"{name}: interrupted; nothing half-built is left", file=sys.stderr)
        return 128 + int(interruption.args[0])
    return 0


class Stages:
    """Detects stages in the output and prints each at its end, with its time."""

    def __init__(self) -> None:
        self.name = FIRST_STAGE
        self.began_s = time.monotonic()

    def read(self, line: str) -> None:
        if line.startswith(STAGE_MARK):
            self.enter(line[len(STAGE_MARK) :].strip())
        if line.startswith(NOTE_MARK):
            print(f"WARNING: {line[len(NOTE_MARK) :].rstrip()}", flush=True)
        for mark, name in MARKS.items():
            if mark in line:
                self.enter(name)

    def enter(self, name: str) -> None:
        self.end()
        self.name, self.began_s = name, time.monotonic()

    def end(self) -> None:
        print(f"{time.monotonic() - self.began_s:8.1f} s  {self.name}", flush=True)


def run_stages(
    command: list[str],
    stages: Stages,
    log: Path,
    builder: Builder | None,
    **options: str,
) -> None:
    """Run a command of a build; builder is None if the command changes user itself."""
    environment = (
        builder.environment(**options) if builder else {**os.environ, **options}
    )
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
        text=True,
        errors="replace",
        start_new_session=True,
        cwd="/",
        **(builder.process_options() if builder else {}),
    )
    assert process.stdout is not None
    try:
        with log.open("a") as stream:
            for line in process.stdout:
                stream.write(line)
                stages.read(line)
        status = process.wait()
    finally:
        _end(process)
    if status:
        raise BuildError(explain(status, stages.name, log))


def _end(process: subprocess.Popen[str]) -> None:
    """End the command, by SIGTERM first so that it can clean up, and its children."""
    if process.poll() is None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_S)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def explain(status: int, stage: str, log: Path) -> str:
    """The message of a failed build: the cause if known, and the end of the log."""
    lines = log.read_text(errors="replace").splitlines()
    tail = "\n".join(lines[-TAIL_LINES:])
    remedy = ""
    if any(phrase in tail for phrase in NO_SPACE):
        remedy = (
            "the disk is full: free some space, or set JAX_SIF_CACHE to a folder with"
            " room\n"
        )
    return (
        f"the stage '{stage}' ended with status {status}; nothing half-built is left\n"
        f"{remedy}the end of {log}:\n{tail}"
    )


@contextmanager
def registry_advice(stages: Stages, base: str, source: str) -> Iterator[None]:
    """Says what to do instead, where the build failed before it had its base."""
    try:
        yield
    except BuildError as error:
        if base != "registry" or stages.name != FIRST_STAGE:
            raise
        raise BuildError(
            f"the container registry gave no {source}: where no registry can be"
            f" reached, use BASE=local (made from Debian packages)\n{error}"
        ) from error


@dataclass(frozen=True)
class Space:
    """Measured disk space of a build, downloads included, and of its result."""

    scratch_gb: float
    image_gb: float


def check_free_space(accel: str, space: Space, cache: Path, output: Path) -> None:
    needs = {cache: ("JAX_SIF_CACHE", space.scratch_gb)}
    if os.stat(cache).st_dev != os.stat(output).st_dev:
        needs[output] = ("--output", space.image_gb)
    for folder, (knob, need_gb) in needs.items():
        free_gb = shutil.disk_usage(folder).free / 1e9
        if free_gb < need_gb:
            raise BuildError(
                f"building an image for {accel} needs {need_gb:.1f} GB in {folder}, and"
                f" {free_gb:.1f} GB are free: free some, or name a folder with room by"
                f" {knob}"
            )


def check_room(source: Path, folder: Path, remedy: str) -> None:
    """Raise BuildError if there is no space for a copy of a file."""
    need_bytes, free_bytes = source.stat().st_size, shutil.disk_usage(folder).free
    if need_bytes > free_bytes:
        raise BuildError(
            f"a copy of {source.name} needs {need_bytes / 1e9:.3f} GB in"
            f" {str(folder)!r}, and {free_bytes / 1e9:.3f} GB are free: free some, or"
            f" name a folder with room: {remedy}"
        )


def facts_file(image: Path) -> Path:
    """The description of an image, readable without starting it."""
    return image.with_name(f"{image.name}.json")


def key_file(image: Path) -> Path:
    """The public key of a signed image; absent if it is not signed."""
    return image.with_name(f"{image.name}.pem")


def find_image(accel: str, folder: Path) -> Path:
    """The built image, with its description. Raises UsageError."""
    image = folder / f"{image_name(accel)}.sif"
    for path in (image, facts_file(image)):
        if not path.is_file():
            raise UsageError(
                f"there is no {path}; build it first: make build-image ACCEL={accel}"
            )
    return image


def _stamp(image: Path) -> Path:
    return image.with_name(f".{image.name}.json")


def is_up_to_date(image: Path, content: str) -> bool:
    """Whether the image was built from this content."""
    try:
        stamp = json.loads(_stamp(image).read_text())
        found = image.stat()
        facts_file(image).stat()
    except (OSError, ValueError):
        return False
    return bool(
        stamp == {"content": content, "bytes": found.st_size, "time": found.st_mtime_ns}
    )


def publish(built: Path, facts: Path, image: Path, content: str) -> None:
    """Move the unsigned image and its description to their names, each atomically."""
    key_file(image).unlink(missing_ok=True)
    if image.suffix == ".sif":
        _add_checksum(facts, built)
    # A SIF is a program too: ./image.sif COMMAND.
    _put(built, image, mode=0o755 if image.suffix == ".sif" else 0o644)
    _put(facts, facts_file(image), mode=0o644)
    _write_stamp(image, content)


def _add_checksum(facts: Path, image: Path) -> None:
    """Add checksum and header, by which bin/image.sh detects a damaged image."""
    digest = hashlib.sha256()
    with image.open("rb") as file:
        header = file.read(SIF_HEADER_BYTES)
        digest.update(header)
        while block := file.read(1 << 20):
            digest.update(block)
    content = {
        **json.loads(facts.read_text()),
        "sif_header": header.hex(),
        "sif_sha256": digest.hexdigest(),
    }
    facts.write_text(json.dumps(content, indent=2) + "\n")


def publish_signed(signed: Path, key: Path, image: Path) -> None:
    """Replace an image by its signed copy."""
    content = json.loads(_stamp(image).read_text())["content"]
    # A key without its image refuses the job; an image without its key would not.
    _put(key, key_file(image), mode=0o644)
    _put(signed, image, mode=0o755)
    _write_stamp(image, content)


def _write_stamp(image: Path, content: str) -> None:
    found = image.stat()
    stamp = {"content": content, "bytes": found.st_size, "time": found.st_mtime_ns}
    _stamp(image).write_text(json.dumps(stamp) + "\n")


def _put(built: Path, image: Path, mode: int) -> None:
    """Move a file to its name, atomically."""

    def write(hidden: Path) -> None:
        # Across file systems this copies, which is why it goes to a hidden name.
        shutil.move(str(built), str(hidden))
        folder = image.parent.stat()
        if os.geteuid() == 0:
            os.chown(hidden, folder.st_uid, folder.st_gid)

    try:
        placing.put(image, mode, write)
    except OSError as error:
        raise BuildError(f"cannot write {image}: {error.strerror}") from error


def report(image: Path, began_s: float) -> None:
    size_bytes = image.stat().st_size
    print(
        f"{time.monotonic() - began_s:8.1f} s  in all: {image}"
        f" ({size_bytes / 1e9:.3f} GB)"
    )
