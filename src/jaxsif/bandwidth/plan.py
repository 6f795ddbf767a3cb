"""The command line of the bandwidth test, its plan, and its time budget."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from jaxsif.bandwidth.collectives import COLLECTIVES, DTYPES, parse_size
from jaxsif.core.errors import UsageError
from jaxsif.rank.exit_hooks import exit_now

_MIN_TRIALS = 5
# GPUs need seconds for all sizes, but XLA and NCCL take their time to start.
_BUDGET_S = {"cpu": 30.0}
_DEFAULT_BUDGET_S = 120.0
# Bytes of bf16 whose elements 32 bits can count.
_MAX_SIZE = 2**32

# Measured at a few sizes by default, after all-reduce of f32: its other types and the
# other collectives.
_EXTRA_COLLECTIVES = (
    ("all-reduce", "bf16"),
    ("all-reduce", "i32"),
    *((name, "f32") for name in COLLECTIVES if name != "all-reduce"),
)
_COARSE_FROM, _COARSE_FACTOR = 2**20, 16
# Runs of each size besides the trials, until the length of the chain fits.
WARM_UPS = 4


@dataclass(frozen=True)
class Series:
    """A collective and a type, over sizes in bytes, the smallest first."""

    collective: str
    dtype: str
    sizes: tuple[int, ...]


@dataclass(frozen=True)
class Plan:
    """The series in order, the trials of each size, and the total time."""

    series: tuple[Series, ...]
    trials: int
    # None: not given; the default depends on the devices.
    requested_budget_s: float | None = None

    def time_budget_s(self, platform: str) -> float:
        """The total time on devices of a platform (`gpu`, `cpu`)."""
        if self.requested_budget_s is not None:
            return self.requested_budget_s
        return _BUDGET_S.get(platform, _DEFAULT_BUDGET_S)


class _Parser(argparse.ArgumentParser):
    """Raises UsageError instead of exiting, so that the verdict reports the error."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{self.prog}: {message}; see --help")

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        """After --help; a rank does not wait for the others then."""
        sys.stdout.flush()
        exit_now(status)


def parse_plan(arguments: Sequence[str]) -> Plan:
    """Reads the command line. Raises UsageError."""
    args = _parser().parse_args(arguments)
    smallest, largest = parse_size(args.min_size), parse_size(args.max_size)
    if not smallest <= largest <= _MAX_SIZE:
        raise UsageError(
            f"sizes from {args.min_size} to {args.max_size}: the first must not be"
            " the larger, and 4G is the most"
        )
    if args.factor < 2:
        raise UsageError(f"--factor is {args.factor}, expected 2 or more")
    if args.trials < _MIN_TRIALS:
        raise UsageError(
            f"--trials is {args.trials}, expected {_MIN_TRIALS} or more: a median"
            " of fewer is unreliable"
        )
    sizes = sizes_between(smallest, largest, args.factor)
    return Plan(_series(args, sizes), args.trials, args.time_budget)


def sizes_between(smallest: int, largest: int, factor: int) -> tuple[int, ...]:
    """The sizes from the largest, which the verdict reports, down, and the smallest."""
    sizes = {smallest}
    size = largest
    while size > smallest:
        sizes.add(size)
        size //= factor
    return tuple(sorted(sizes))


def _series(args: argparse.Namespace, sizes: tuple[int, ...]) -> tuple[Series, ...]:
    if args.collectives or args.dtypes:
        names = _names(args.collectives or "all-reduce", COLLECTIVES, "collective")
        dtypes = _names(args.dtypes or "f32", DTYPES, "type")
        return tuple(Series(name, dtype, sizes) for name in names for dtype in dtypes)
    coarse = [size for size in sizes if size >= _COARSE_FROM] or [sizes[-1]]
    kept = coarse[:1]
    for size in coarse:
        if size >= kept[-1] * _COARSE_FACTOR:
            kept.append(size)
    others = (Series(name, dtype, tuple(kept)) for name, dtype in _EXTRA_COLLECTIVES)
    return (Series("all-reduce", "f32", sizes), *others)


def _names(text: str, known: Mapping[str, object], what: str) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in known:
            raise UsageError(f"no {what} {name!r}; there are {', '.join(known)}")
    return list(dict.fromkeys(names))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="bandwidth.py",
        description="Measures how fast all devices of the job exchange data, and checks"
        " every element. Without --collectives and --dtypes: all-reduce of f32 over all"
        " sizes, then its other types and the other collectives at a few.",
    )
    parser.add_argument(
        "--collectives", metavar="NAMES", help=f"of {', '.join(COLLECTIVES)}"
    )
    parser.add_argument("--dtypes", metavar="NAMES", help=f"of {', '.join(DTYPES)}")
    parser.add_argument("--min-size", default="8", metavar="SIZE", help="8 by default")
    parser.add_argument(
        "--max-size", default="1G", metavar="SIZE", help="1G by default"
    )
    parser.add_argument(
        "--factor", type=int, default=4, help="from size to size; 4 by default"
    )
    parser.add_argument(
        "--trials", type=int, default=5, help="of each size; 5 by default, the fewest"
    )
    parser.add_argument(
        "--time-budget",
        type=float,
        metavar="SECONDS",
        help="larger sizes are left out when they would take longer in all; 120 by"
        " default, 30 on CPU devices",
    )
    return parser


@dataclass(frozen=True)
class TimeBudget:
    """The time of the last size: `setup_cost_s` in all, `time_us` per collective."""

    limit_s: float
    spent_s: float
    trials: int
    size_bytes: int
    setup_cost_s: float
    time_us: float

    @property
    def left_s(self) -> float:
        return self.limit_s - self.spent_s

    def expected_s(self, size_bytes: int) -> float:
        """Estimate another size: the last one's time, plus its runs scaled by size.

        Filling and checking take about as long as the collective.
        """
        runs = 2 * (self.trials + WARM_UPS)
        growth = size_bytes / self.size_bytes
        return self.setup_cost_s + runs * growth * self.time_us / 1e6

    def next_size(self, sizes: Sequence[int]) -> int | None:
        """The index of the next size to measure; None if there is no time for one.

        Skips small sizes if they are slow (many ranks on few cores), so that there is
        time for the large ones, which are rated.
        """
        possible = [n for n, s in enumerate(sizes) if self.expected_s(s) <= self.left_s]
        if not possible:
            return None
        stride = math.ceil(len(sizes) * self.setup_cost_s / self.left_s)
        return min(max(stride, 1) - 1, possible[-1])
