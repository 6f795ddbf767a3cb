"""In `jax-sif verify`: follow the observers of a job's ranks, and write their stacks."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from jaxsif.core.atomic_write import atomic_write
from jaxsif.core.errors import KitError
from jaxsif.core.records import Record, StalledRecord
from jaxsif.core.slurm_env import JOB_ID, JOB_NAME
from jaxsif.core.topology import Topology
from jaxsif.hang.checks import describe
from jaxsif.hang.group import Hang, Standstill, Standstills, format_stacks, standstill
from jaxsif.hang.limit import END_VARIABLE, limit_s

# How often hangs are looked for.
LOOK_S = 1.0
# After a longer pause the machine was suspended, and the ranks perhaps as well.
_MAX_PAUSE_S = 5.0
# How long the answers to a request for stacks are collected.
_ANSWERS_S = 4.0


def stacks_file(
    environment: Mapping[str, str], verdict_file: Path | None
) -> Path | None:
    """Where the ranks' stacks go: beside the verdict file, or as a job's would be named."""
    if verdict_file is not None:
        return verdict_file.with_suffix(".stacks")
    job, name = environment.get(JOB_ID), environment.get(JOB_NAME, "job")
    return Path(f"{name.replace('/', '-')}-{job}.stacks") if job else None


class HangWatch:
    """Whether the job's ranks still make progress, by their observers' records."""

    def __init__(
        self,
        topology: Topology | None,
        environment: Mapping[str, str],
        verdict_file: Path | None,
    ) -> None:
        """`verdict_file`: where the verdict is written."""
        self._topology = topology
        self._limit_s = limit_s(environment)
        self._always_ends = environment.get(END_VARIABLE) == "always"
        self._stacks = stacks_file(environment, verdict_file)
        self._standstills = Standstills()
        self._answers: dict[int, Standstill] = {}
        self._last_s = self._first_answer_s = time.monotonic()
        self._seen: set[Hang] = set()
        self._is_new = False
        # What the verdict reports: a certain hang, or a warning.
        self.found: Hang | None = None

    @property
    def is_on(self) -> bool:
        return self._topology is not None and self._limit_s is not None

    def add(self, record: Record) -> bool:
        """Add a record; return whether it is an observer's."""
        now_s = time.monotonic()
        if isinstance(record, StalledRecord) and record.is_requested:
            if not self._answers:
                self._first_answer_s = now_s
            self._answers[record.rank] = standstill(record, now_s)
            return True
        return self._standstills.add(record, now_s)

    def look(self) -> bool:
        """Whether a hang was found now for which the step is to be ended."""
        now_s = time.monotonic()
        if self._topology is None or self._limit_s is None:
            return False
        if now_s - self._last_s < LOOK_S or (self.found and self.found.is_certain):
            return False
        if now_s - self._last_s > _MAX_PAUSE_S:
            self._standstills.clear()
        self._last_s = now_s
        self._write_answers(now_s)
        processes = self._topology.processes
        hang = self._standstills.find_hang(processes, self._limit_s, now_s)
        if hang is None:
            return False
        # At a terminal a person sees it, and may be the one that a rank waits for.
        ends = hang.is_certain and not sys.stderr.isatty()
        hang = replace(hang, is_certain=ends or self._always_ends)
        seen = replace(hang, for_s=0.0)
        if seen in self._seen:
            return False
        self._seen.add(seen)
        self.found, self._is_new = hang, hang.is_certain
        self._say(("" if hang.is_certain else "warning: ") + "; ".join(describe(hang)))
        self._write_stacks(format_stacks(hang.group, hang.ranks))
        return hang.is_certain

    def take(self) -> bool:
        """Whether such a hang was found since the last call."""
        is_new, self._is_new = self._is_new, False
        return is_new

    def note_not_ended(self) -> None:
        """Called when the launcher cannot be ended from here: the program may go on."""
        self.found = self.found and replace(self.found, is_certain=False)

    def _write_answers(self, now_s: float) -> None:
        if (
            self._answers
            and self._topology
            and (
                len(self._answers) >= self._topology.processes
                or now_s - self._first_answer_s > _ANSWERS_S
            )
        ):
            text = format_stacks(self._answers)
            missing = sorted(
                set(range(self._topology.processes)) - self._answers.keys()
            )
            if missing:
                text += f"\nno answer: {missing}\n"
            self._answers = {}
            self._write_stacks(text)

    def _write_stacks(self, text: str) -> None:
        if self._stacks is None:
            print(text, file=sys.stderr, end="", flush=True)
            return
        try:
            atomic_write(self._stacks, text, "the verdict is valid")
            self._say(f"the ranks' stacks are in {self._stacks}")
        except KitError as error:
            self._say(f"warning: {error}")

    @staticmethod
    def _say(text: str) -> None:
        print(f"jax-sif: {text}", file=sys.stderr, flush=True)
