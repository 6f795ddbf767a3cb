"""Runs `jax-sif launch` for the tests, with programs that need no JAX."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

from checkout import SRC

LIMIT_S = 60


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "jaxsif", "launch", *map(str, words)]


def environment(**changes: str) -> dict[str, str]:
    return {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "PYTHONPATH": str(SRC),
        **changes,
    }


def launch(*words: object, **changes: str) -> subprocess.CompletedProcess[str]:
    """A whole launch. Both outputs are apart, as in a script."""
    return subprocess.run(
        command(*words),
        env=environment(**changes),
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )


def start(*words: object, **options) -> subprocess.Popen:
    """A launch that goes on. Its outputs are one, as with `|&`."""
    return subprocess.Popen(
        command(*words),
        env=environment(),
        stdout=options.pop("stdout", subprocess.PIPE),
        stderr=subprocess.STDOUT,
        text=True,
        **options,
    )


def wait_for(path: Path, ranks: int) -> list[int]:
    """The numbers that so many ranks have each written, in one line, into `path.RANK`."""
    deadline_s = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline_s:
        texts = [f.read_text() for f in path.parent.glob(f"{path.name}.*")]
        if len(texts) == ranks and all(text.endswith("\n") for text in texts):
            return [int(word) for text in texts for word in text.split()]
        time.sleep(0.02)
    raise AssertionError(f"{ranks} files {path}.* were expected")


def wait_until_gone(processes: list[int]) -> None:
    deadline_s = time.monotonic() + LIMIT_S
    while any(map(is_alive, processes)):
        assert time.monotonic() < deadline_s, "processes were left behind"
        time.sleep(0.02)


def is_alive(process: int) -> bool:
    """Whether it still runs; one that is not reaped yet does not."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, 0)
        state = Path(f"/proc/{process}/stat")
        return (
            not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"
        )
    return False
