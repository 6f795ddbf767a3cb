"""Measure collectives size by size, and check every element received."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
import numpy as np

from jaxsif.bandwidth import nccl_table
from jaxsif.bandwidth.collectives import (
    Buffers,
    buffers,
    interquartile,
    mean_over_ranks,
)
from jaxsif.bandwidth.plan import Plan, Series, TimeBudget
from jaxsif.bandwidth.programs import (
    Group,
    Programs,
    UnsupportedCollective,
    compile_repeated,
    is_unimplemented,
    programs,
)
from jaxsif.core.records import BandwidthRecord
from jaxsif.core.slurm_env import LOCAL_RANKS, is_local_launch
from jaxsif.core.text import format_size
from jaxsif.node import inspect_host
from jaxsif.node.host import free_memory_bytes
from jaxsif.rank.reporter import Reporter

# The share of the time for the first series, which the verdict line reports.
_FIRST_SHARE = 0.5
# The target duration of a program: its start, some tens of microseconds, is then
# negligible, and a run of all sizes stays short.
_PROGRAM_US = 10_000.0
_MAX_REPETITIONS = 1024
# Outside of these a chain's length is chosen again, up to this many times.
_MIN_PROGRAM_US, _MAX_PROGRAM_US = 2_000.0, 20_000.0
_MAX_ATTEMPTS = 3

# Share of the free memory; the rest is for other allocations.
_USED_SHARE = 0.8

# No trial has number 0: the initial content of a buffer is then never right.
_WARM_UP_TRIALS = (1, 2)
_FIRST_TRIAL = 3


def measure(reporter: Reporter, plan: Plan) -> None:
    """Run the plan's tests in order and report each result; rank 0 prints the table."""
    group = Group()
    usable = _usable_bytes(reporter.identity.local_processes)
    # Of the device that has the least.
    limit_bytes = float(np.min(group.gather_floats([usable])))
    began_s = time.monotonic()
    budget_s = plan.time_budget_s(jax.default_backend())
    _print(nccl_table.preamble(plan.trials, budget_s, group.size, jax.process_count()))
    for number, series in enumerate(plan.series):
        left_s = budget_s - (time.monotonic() - began_s)
        share = 1 / (len(plan.series) - number)
        if number == 0 and len(plan.series) > 1:
            share = _FIRST_SHARE
        _Run(reporter, group, plan, series, limit_bytes, left_s * share).run()


class _Run:
    """One series: a collective and a type, over its sizes."""

    def __init__(
        self,
        reporter: Reporter,
        group: Group,
        plan: Plan,
        series: Series,
        limit_bytes: float,
        limit_s: float,
    ) -> None:
        self._reporter = reporter
        self._group = group
        self._plan = plan
        self._series = series
        self._limit_bytes = limit_bytes
        self._limit_s = limit_s
        self._began_s = time.monotonic()
        # Microseconds of one collective at the previous size, agreed by all ranks.
        self._last_us: float | None = None
        self._rows: list[nccl_table.TableRow] = []

    def run(self) -> None:
        """Measure the sizes, up to the first that memory or time do not allow."""
        try:
            self._sizes(self._shapes())
        except (UnsupportedCollective, jax.errors.JaxRuntimeError) as error:
            if not is_unimplemented(error):
                raise
            # All ranks' compilers raise it alike, before any of them sends.
            name = f"{self._series.collective} {self._series.dtype}"
            platform = jax.default_backend()
            _print(f"# {name}: JAX does not implement it on {platform} devices")
        _print(nccl_table.footer(self._rows, self._series.collective))

    def _sizes(self, shapes: list[Buffers]) -> None:
        while shapes:
            began_s = time.monotonic()
            self._point(shapes[0])
            setup_cost_s = time.monotonic() - began_s
            shapes = self._next_sizes(shapes, setup_cost_s)

    def _shapes(self) -> list[Buffers]:
        """Each size once, the smallest first, up to the limit of memory."""
        series = self._series
        found = {
            shape.size_bytes: shape
            for size_bytes in series.sizes
            for shape in [
                buffers(series.collective, series.dtype, size_bytes, self._group.size)
            ]
        }
        for shape in found.values():
            needed = shape.needed_bytes
            if needed > self._limit_bytes:
                self._skip(
                    shape,
                    f"they need {needed / 1e9:.1f} GB a device, and of what is free one"
                    f" may take {self._limit_bytes / 1e9:.1f} GB",
                )
                break
        return [s for s in found.values() if s.needed_bytes <= self._limit_bytes]

    def _next_sizes(self, shapes: list[Buffers], setup_cost_s: float) -> list[Buffers]:
        """The sizes left to measure after the first; rank 0's clock decides for all."""
        first, *rest = shapes
        if not rest:
            return []
        spent_s = time.monotonic() - self._began_s
        budget = TimeBudget(
            self._limit_s,
            spent_s,
            self._plan.trials,
            first.size_bytes,
            setup_cost_s,
            self._last_us or 0.0,
        )
        next_index = budget.next_size([shape.size_bytes for shape in rest])
        index = int(
            self._group.gather_floats([-1 if next_index is None else next_index])[0, 0]
        )
        if index >= 0:
            return rest[index:]
        expected_s = budget.expected_s(rest[0].size_bytes)
        self._skip(
            rest[0],
            f"they would take {expected_s:.0f} s more, and"
            f" {max(budget.left_s, 0):.0f} s of"
            f" {self._limit_s:.0f} are left; --time-budget gives more",
        )
        return []

    def _skip(self, shape: Buffers, reason: str) -> None:
        _print(f"# {self._label(shape)} and more: not measured, {reason}")

    def _label(self, shape: Buffers) -> str:
        size = format_size(shape.size_bytes)
        return f"{self._series.collective} {self._series.dtype} {size}"

    def _point(self, shape: Buffers) -> None:
        """Measure one size, report it, and print its row."""
        series = self._series
        sampler = BandwidthSampler(
            self._group,
            series,
            self._plan.trials,
            # The position is the same for all trials: only a keepalive for the
            # watchdog.
            lambda: self._reporter.enters(self._label(shape)),
        )
        sample = sampler.measure(shape, self._last_us)
        self._last_us = sample.synchronized_us
        self._reporter.has_wrong_results |= sample.wrong > 0
        self._reporter.emit(
            BandwidthRecord(
                **self._reporter.stamp(),
                collective=series.collective,
                dtype=series.dtype,
                size_bytes=shape.size_bytes,
                count=shape.count,
                devices=self._group.size,
                repetitions=sample.repetitions,
                times_us=[round(t, 3) for t in sample.times_us],
                local_us=[round(t, 1) for t in sample.local_us],
                compile_s=round(sample.compile_s, 3),
                wrong_elements=sample.wrong,
            )
        )
        self._print_row(shape, sample)

    def _print_row(self, shape: Buffers, sample: BandwidthSample) -> None:
        """Print the row of all ranks' times."""
        gathered = self._group.gather_floats([float(sample.wrong), *sample.times_us])
        times_us = mean_over_ranks(gathered[:, 1:].tolist())
        median_us = statistics.median(times_us)
        row = nccl_table.TableRow(
            self._series.collective,
            self._series.dtype,
            shape.size_bytes,
            shape.count,
            median_us,
            int(gathered[:, 0].sum()),
            self._group.size,
            interquartile(times_us) / median_us,
        )
        if not self._rows:
            _print(nccl_table.header(self._series.collective, self._series.dtype))
        self._rows.append(row)
        _print(row.text())


def _print(lines: str | Sequence[str]) -> None:
    """Print on rank 0, each row as soon as it is known."""
    if jax.process_index() == 0:
        text = lines if isinstance(lines, str) else "\n".join(lines)
        print(text, flush=True)


@dataclass(frozen=True)
class BandwidthSample:
    """This rank's measurement of one size of one series.

    `times_us`: the time of one collective, per trial; `local_us`: this rank's own time
    for filling and checking, per trial; `synchronized_us`: the rough time of one
    collective, the same on all ranks.
    """

    repetitions: int
    times_us: list[float]
    local_us: list[float]
    compile_s: float
    wrong: int
    synchronized_us: float


@dataclass(frozen=True)
class BandwidthSampler:
    """Measures sizes of a series; calls `keepalive` before each slow part."""

    group: Group
    series: Series
    trials: int
    keepalive: Callable[[], None]

    def measure(self, shape: Buffers, estimate_us: float | None) -> BandwidthSample:
        """Warm up until the length of the chain fits, then measure.

        `estimate_us`: the time at the previous size; None for the first.
        """
        series = self.series
        helpers = programs(self.group, series.collective, series.dtype, shape)
        length = 1 if estimate_us is None else repetitions_for(estimate_us)
        received = helpers.empty(self.group.broadcast_int(0))
        for _ in range(_MAX_ATTEMPTS):
            self.keepalive()
            chain, compile_s = compile_repeated(
                self.group, series.collective, series.dtype, shape, length
            )
            took_us, received = self._warm_up(chain, helpers, received)
            # The same for all ranks, and so is the length that follows from it.
            synchronized_us = float(self.group.gather_floats([took_us]).max()) / length
            better = repetitions_for(synchronized_us)
            if better == length or has_target_duration(synchronized_us * length):
                break
            length = better
        return self._measure(
            chain, length, helpers, received, compile_s, synchronized_us
        )

    def _warm_up(
        self, chain: jax.stages.Compiled, helpers: Programs, received: jax.Array
    ) -> tuple[float, jax.Array]:
        """Run twice: the first opens connections, the second is timed."""
        for trial in _WARM_UP_TRIALS:
            sent = helpers.fill(self.group.broadcast_int(trial))
            self._barrier()
            took_us, received = _timed(chain, sent, received)
            # Compiles it, so that no trial includes the compilation.
            helpers.wrong(received, self.group.broadcast_int(trial))
        return took_us, received

    def _measure(
        self,
        chain: jax.stages.Compiled,
        length: int,
        helpers: Programs,
        received: jax.Array,
        compile_s: float,
        synchronized_us: float,
    ) -> BandwidthSample:
        times_us, local_us, wrong = [], [], 0
        for trial in range(_FIRST_TRIAL, _FIRST_TRIAL + self.trials):
            self.keepalive()
            number = self.group.broadcast_int(trial)
            began_s = time.perf_counter()
            sent = jax.block_until_ready(helpers.fill(number))
            filled_s = time.perf_counter() - began_s
            self._barrier()
            took_us, received = _timed(chain, sent, received)
            times_us.append(took_us / length)
            began_s = time.perf_counter()
            counts = jax.block_until_ready(helpers.wrong(received, number))
            checked_s = time.perf_counter() - began_s
            local_us.append(1e6 * (filled_s + checked_s))
            wrong += sum(int(s.data[0]) for s in counts.addressable_shards)
        return BandwidthSample(
            length, times_us, local_us, compile_s, wrong, synchronized_us
        )

    def _barrier(self) -> None:
        """Let all ranks continue at about the same moment."""
        self.group.gather_floats([0.0])


def _timed(
    chain: jax.stages.Compiled, sent: jax.Array, received: jax.Array
) -> tuple[float, jax.Array]:
    """Time one run in microseconds; return its result. Both buffers are donated."""
    jax.block_until_ready((sent, received))
    began_s = time.perf_counter()
    _, received = jax.block_until_ready(chain(sent, received))
    return 1e6 * (time.perf_counter() - began_s), received


def repetitions_for(time_us: float) -> int:
    """Collectives per program: a power of two, so that few lengths are compiled."""
    ideal = _PROGRAM_US / max(time_us, 0.1)
    return min(1 << max(round(math.log2(ideal)), 0), _MAX_REPETITIONS)


def has_target_duration(program_us: float) -> bool:
    """Whether a program is long enough to be measured, and no longer than needed."""
    return _MIN_PROGRAM_US <= program_us <= _MAX_PROGRAM_US


def _usable_bytes(local_processes: int) -> float:
    """Bytes for the buffers on one device; infinite if unknown."""
    if jax.default_backend() == "cpu":
        free = free_memory_bytes(inspect_host(os.environ))
        # All simulated nodes of `jax-sif launch` share one memory.
        if is_local_launch(os.environ):
            local_processes = int(os.environ[LOCAL_RANKS])
        sharing = local_processes * jax.local_device_count()
        # Gloo and XLA hold about as much again while they send.
        return math.inf if free is None else _USED_SHARE * free / sharing / 2
    stats = [device.memory_stats() or {} for device in jax.local_devices()]
    if not all("bytes_limit" in s for s in stats):
        return math.inf
    free_bytes = min(int(s["bytes_limit"] - s["bytes_in_use"]) for s in stats)
    return _USED_SHARE * free_bytes
