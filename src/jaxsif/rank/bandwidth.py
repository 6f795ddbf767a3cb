"""Measures collectives, size by size, and checks every element that they bring; runs in each rank."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import jax
import numpy as np

from jaxsif.contract.collectives import (
    Buffers,
    across_ranks,
    buffers,
    size_in_words,
)
from jaxsif.rank import memory, table
from jaxsif.rank.collectives import (
    Group,
    NotImplementedHere,
    Programs,
    compiled_chain,
    is_unimplemented,
    programs,
)
from jaxsif.rank.narrator import Narrator
from jaxsif.rank.plan import Plan, Series

# One program lasts about this long: the start of it, some tens of microseconds, is then
# not seen, and a run of all sizes stays short.
_PROGRAM_US = 10_000.0
_LONGEST_CHAIN = 1024
# Outside of these a chain's length is chosen anew.
_SHORTEST_PROGRAM_US, _LONGEST_PROGRAM_US = 2_000.0, 20_000.0

_WARM_UPS = 4

# The first test, the one that the verdict speaks of, may take so much of all the time.
_FIRST_SHARE = 0.5


@dataclass(frozen=True)
class Sample:
    """One size of one test, as this rank saw it.

    `times_us` are of one collective, a value a trial; `local_us` is what this rank
    needed in each trial for filling and checking, which no other rank has a part in.
    """

    shape: Buffers
    chained: int
    times_us: list[float]
    local_us: list[float]
    compile_s: float
    wrong: int


def measure(tell: Narrator, plan: Plan) -> None:
    """Runs the plan's tests in order and tells each result; rank 0 prints the table."""
    group = Group()
    usable = memory.usable_bytes(tell.identity.local_processes)
    # Of the device that has least.
    limit_bytes = float(np.min(group.told([usable])))
    began_s = time.monotonic()
    budget_s = plan.time_budget_s(jax.default_backend())
    _print(table.opening(plan.trials, budget_s, group.size, jax.process_count()))
    for number, test in enumerate(plan.tests):
        left_s = budget_s - (time.monotonic() - began_s)
        share = 1 / (len(plan.tests) - number)
        if number == 0 and len(plan.tests) > 1:
            share = _FIRST_SHARE
        _Run(tell, group, plan, test, limit_bytes, left_s * share).run()


class _Run:
    """One test: a collective and a type, over its sizes."""

    def __init__(
        self,
        tell: Narrator,
        group: Group,
        plan: Plan,
        test: Series,
        limit_bytes: float,
        limit_s: float,
    ) -> None:
        self._tell = tell
        self._group = group
        self._plan = plan
        self._test = test
        self._limit_bytes = limit_bytes
        self._limit_s = limit_s
        self._began_s = time.monotonic()
        # By the ranks together, of the size before: microseconds of one collective.
        self._last_us: float | None = None
        self._rows: list[table.Row] = []

    def run(self) -> None:
        """All sizes, up to the first that memory or time do not allow."""
        cost_s, last_bytes = 0.0, 0
        for size_bytes in self._test.sizes:
            shape = buffers(
                self._test.collective, self._test.dtype, size_bytes, self._group.size
            )
            if shape.size_bytes == last_bytes:
                continue
            growth = shape.size_bytes / last_bytes if last_bytes else 1.0
            reason = self._why_not(shape, cost_s, growth)
            if reason:
                _print(f"# {self._words(shape)} and more: {reason}")
                break
            point_began_s = time.monotonic()
            try:
                self._point(shape)
            except (NotImplementedHere, jax.errors.JaxRuntimeError) as error:
                if not (
                    isinstance(error, NotImplementedHere) or is_unimplemented(error)
                ):
                    raise
                # Said by the compiler of every rank alike, before any of them sends.
                name = f"{self._test.collective} {self._test.dtype}"
                platform = jax.default_backend()
                _print(f"# {name}: JAX does not implement it on {platform} devices")
                return
            cost_s, last_bytes = time.monotonic() - point_began_s, shape.size_bytes
        _print(table.footer(self._rows, self._test.collective))

    def _words(self, shape: Buffers) -> str:
        size = size_in_words(shape.size_bytes)
        return f"{self._test.collective} {self._test.dtype} {size}"

    def _why_not(self, shape: Buffers, cost_s: float, growth: float) -> str:
        """Why a size is not measured; rank 0's clock decides for all."""
        element_bytes = shape.size_bytes // max(shape.sent, shape.received)
        needed = element_bytes * (shape.sent + shape.received)
        if needed > self._limit_bytes:
            return (
                f"not measured, they need {needed / 1e9:.1f} GB a device and"
                f" {self._limit_bytes / 1e9:.1f} GB are free on the smallest"
            )
        spent_s = time.monotonic() - self._began_s
        # As long as the size before, and its runs once more in proportion to the size;
        # filling and checking take about as long as the collective.
        runs = 2 * (self._plan.trials + _WARM_UPS)
        expected_s = cost_s + runs * growth * (self._last_us or 0.0) / 1e6
        self._tell.enters(f"the start of {self._words(shape)}")
        clock = self._group.told([spent_s, expected_s])[0]
        if clock[0] + clock[1] <= self._limit_s or not self._rows:
            return ""
        return (
            f"not measured, they would take {clock[1]:.0f} s more than the"
            f" {max(self._limit_s, 0.0):.0f} s of this test; --time-budget gives more"
        )

    def _point(self, shape: Buffers) -> None:
        sample = self._sample(shape)
        test = self._test
        self._tell.saw_wrong_numbers |= sample.wrong > 0
        self._tell.say(
            "bandwidth",
            collective=test.collective,
            dtype=test.dtype,
            size_bytes=shape.size_bytes,
            count=shape.count,
            chained=sample.chained,
            times_us=[round(t, 3) for t in sample.times_us],
            local_us=[round(t, 1) for t in sample.local_us],
            compile_s=round(sample.compile_s, 3),
            wrong=sample.wrong,
            devices=self._group.size,
        )
        told = self._group.told([float(sample.wrong), *sample.times_us])
        times_us = across_ranks(told[:, 1:].tolist())
        row = table.Row(
            test.collective,
            test.dtype,
            shape.size_bytes,
            shape.count,
            statistics.median(times_us),
            int(told[:, 0].sum()),
            self._group.size,
        )
        if not self._rows:
            _print(table.header(test.collective, test.dtype))
        self._rows.append(row)
        _print(row.text())

    def _sample(self, shape: Buffers) -> Sample:
        """Warms up until the chain has its length, then measures."""
        where = self._words(shape)
        around = programs(self._group, self._test.collective, self._test.dtype, shape)
        length = 1 if self._last_us is None else _chain_length(self._last_us)
        received = around.empty(self._group.number(0))
        for _ in range(3):
            self._tell.enters(where)
            chain, compile_s = compiled_chain(
                self._group, self._test.collective, self._test.dtype, shape, length
            )
            # The first run opens connections; the second tells how long it takes.
            for trial in (0, 1):
                sent = around.fill(self._group.number(trial))
                self._meet()
                took_us, received = _timed(chain, sent, received)
                # For its compilation: that is not to fall into a trial.
                around.wrong(received, self._group.number(trial))
            self._last_us = float(self._group.told([took_us]).max()) / length
            better = _chain_length(self._last_us)
            is_good = self._last_us * length >= _SHORTEST_PROGRAM_US
            is_good &= self._last_us * length <= _LONGEST_PROGRAM_US
            if is_good or better == length:
                break
            length = better
        del sent
        return self._trials(shape, chain, length, compile_s, around, received)

    def _trials(
        self,
        shape: Buffers,
        chain: jax.stages.Compiled,
        length: int,
        compile_s: float,
        around: Programs,
        received: jax.Array,
    ) -> Sample:
        times_us, local_us, wrong = [], [], 0
        for trial in range(2, 2 + self._plan.trials):
            number = self._group.number(trial)
            # Only a sign of life to the watchdog: the place is the same for all trials.
            self._tell.enters(self._words(shape))
            began_s = time.perf_counter()
            sent = jax.block_until_ready(around.fill(number))
            filled_s = time.perf_counter() - began_s
            self._meet()
            took_us, received = _timed(chain, sent, received)
            del sent
            times_us.append(took_us / length)
            began_s = time.perf_counter()
            counts = jax.block_until_ready(around.wrong(received, number))
            checked_s = time.perf_counter() - began_s
            local_us.append(1e6 * (filled_s + checked_s))
            wrong += sum(int(s.data[0]) for s in counts.addressable_shards)
        return Sample(shape, length, times_us, local_us, compile_s, wrong)

    def _meet(self) -> None:
        """All ranks go on at about the same moment."""
        self._group.told([0.0])


def _timed(
    chain: jax.stages.Compiled, sent: jax.Array, received: jax.Array
) -> tuple[float, jax.Array]:
    """Microseconds of one run, and what it brought; both buffers are given away."""
    jax.block_until_ready((sent, received))
    began_s = time.perf_counter()
    _, received = jax.block_until_ready(chain(sent, received))
    return 1e6 * (time.perf_counter() - began_s), received


def _chain_length(time_us: float) -> int:
    """A power of two, so that few lengths are ever compiled."""
    wanted = _PROGRAM_US / max(time_us, 0.1)
    return min(1 << max(round(math.log2(wanted)), 0), _LONGEST_CHAIN)


def _print(lines: str | Sequence[str]) -> None:
    """The table is rank 0's to print, a row as soon as it is known."""
    if jax.process_index() == 0:
        text = lines if isinstance(lines, str) else "\n".join(lines)
        print(text, flush=True)
