"""Runs the search for slow nodes on simulated clusters: rounds, precision, recall."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import json
import math
import random
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))

from jaxsif.pairs.locate import locate_slow_elements  # noqa: E402  (needs the path above)
from jaxsif.pairs.model import (  # noqa: E402  (needs the path above)
    LATENCY,
    LINK,
    NODE,
    SWITCH,
    Pair,
    PairTiming,
    SearchResult,
    pair_timing,
)
from jaxsif.pairs.rounds import Round, disjoint_round, next_round, shifted_round  # noqa: E402  (needs the path above)

NODES_OF_A_SWITCH = 32
# How slow a bad node or link is, relative to a good one: all below the failing bound.
SPEEDS = (0.2, 0.7)
HEALTHY_US = 1000.0
NOISE, TRIALS = 0.1, 5
# With --busy: the trials of small messages, the time of one, the relative speeds of bad
# ones, the delay by a busy core, and its probability.
SMALL_TRIALS, SMALL_US = 40, 100.0
SMALL_SPEEDS = (0.02, 0.35)
SLICE_US, BUSY = (1000.0, 10_000.0), (0.0, 0.7)


@dataclass
class Cluster:
    """Nodes below switches, and the relative speeds of the bad ones."""

    switches: list[str]
    nodes: dict[int, float] = field(default_factory=dict)
    links: dict[Pair, float] = field(default_factory=dict)
    uplinks: dict[str, float] = field(default_factory=dict)
    # Per node, the probability that it delays a trial; None: only large messages.
    busy: list[float] | None = None

    def speed(self, pair: Pair) -> float:
        """The speed of the slowest part of the path; a fifth lower across switches."""
        ends = [self.switches[node] for node in pair]
        parts = [self.nodes.get(node, 1.0) for node in pair]
        parts += [self.links.get(pair, 1.0)]
        if ends[0] == ends[1]:
            return min(parts)
        return 0.8 * min(parts + [self.uplinks.get(place, 1.0) for place in ends])


@dataclass(frozen=True)
class SearchScore:
    """The result of one search."""

    rounds: int
    # Number of rounds after which every fault was named; 0: never.
    named_by: int
    pairs: int
    right: int
    wrong: int
    missed: int
    planning_s: float


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--most-nodes", type=int, default=16384)
    parser.add_argument("--json", action="store_true")
    parser.add_argument(
        "--harsh",
        action="store_true",
        help="the noise is in the whole of a pair's round, where no repetition helps",
    )
    parser.add_argument(
        "--busy",
        action="store_true",
        help="small messages, many of which wait some milliseconds for a core",
    )
    chosen = parser.parse_args(arguments)
    rows = []
    how = {"is_harsh": chosen.harsh, "is_busy": chosen.busy}
    for row in scenarios(chosen.seeds, chosen.most_nodes, **how):
        rows.append(row)
        if not chosen.json:
            print("  ".join(f"{name} {value}" for name, value in row.items()))
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if chosen.json:
        print(json.dumps({"rows": rows, "peak_memory_mb": round(peak_mb)}))
    else:
        print(f"peak memory {peak_mb:.0f} MB")
    return 0


def scenarios(
    seeds: int, most_nodes: int, *, is_harsh: bool, is_busy: bool = False
) -> Iterator[dict[str, object]]:
    """Yield the results per size and fault, with enough runs for meaningful figures."""
    for count in (4, 16, 64, 256, 1024, 4096, 16384):
        if count > most_nodes:
            return
        runs = min(seeds * max(1024 // count, 1), 1000)
        for fault in ("none", NODE, LINK, SWITCH, "1 % nodes", "1 % links"):
            if fault == SWITCH and count < 3 * NODES_OF_A_SWITCH:
                continue
            found = [
                search(
                    one(count, fault, seed, is_busy=is_busy), seed, is_harsh=is_harsh
                )
                for seed in range(runs)
            ]
            yield summary(count, fault, found)


def one(count: int, fault: str, seed: int, *, is_busy: bool = False) -> Cluster:
    """A cluster with one fault, or with one in a hundred of its nodes or links."""
    dice = random.Random(f"{count}/{fault}/{seed}")
    switches = [f"leaf{node // NODES_OF_A_SWITCH}" for node in range(count)]
    cluster = Cluster(switches)
    speeds = SMALL_SPEEDS if is_busy else SPEEDS
    many = max(round(count / 100), 1)
    if fault in (NODE, "1 % nodes"):
        bad = dice.sample(range(count), 1 if fault == NODE else many)
        cluster.nodes = {node: dice.uniform(*speeds) for node in bad}
    elif fault in (LINK, "1 % links"):
        # A path that only one pair uses is known only if that pair is measured.
        first = disjoint_round(switches)
        ways = sorted({*first.pairs, *shifted_round(switches, first).pairs})
        bad_ways = dice.sample(ways, 1 if fault == LINK else many)
        cluster.links = {way: dice.uniform(*speeds) for way in bad_ways}
    elif fault == SWITCH:
        cluster.uplinks = {dice.choice(switches): dice.uniform(*speeds)}
    if is_busy:
        cluster.busy = [dice.uniform(*BUSY) for _ in switches]
    return cluster


def measure(
    pair: Pair, speed: float, dice: random.Random, *, is_harsh: bool
) -> PairTiming:
    """One pair's round: five trials with 10 % noise each."""
    usual_us = HEALTHY_US / speed
    if is_harsh:
        return PairTiming(pair, usual_us * math.exp(dice.gauss(0, NOISE)))
    return pair_timing(
        pair, [usual_us * math.exp(dice.gauss(0, NOISE)) for _ in range(TRIALS)]
    )


def measure_small(
    pair: Pair, speed: float, dice: random.Random, busy: Sequence[float]
) -> PairTiming:
    """Small messages; a busy core of either node delays both."""
    times_us = []
    for _ in range(SMALL_TRIALS):
        time_us = SMALL_US / speed * math.exp(dice.gauss(0, NOISE))
        for node in pair:
            if dice.random() < busy[node]:
                time_us += dice.uniform(*SLICE_US)
        times_us.append(time_us)
    return pair_timing(pair, times_us, LATENCY)


def search(cluster: Cluster, seed: int, *, is_harsh: bool = False) -> SearchScore:
    """Search round by round, as the ranks of a job do."""
    dice = random.Random(seed)
    outcomes: list[PairTiming] = []
    small: list[PairTiming] = []
    done: list[Round] = []
    planning_s, locating_s, named_by = 0.0, 0.0, 0
    true = _true(cluster)
    named: set[tuple[str, tuple[object, ...]]] = set()
    while True:
        began_s = time.process_time()
        now = next_round(outcomes, cluster.switches, done, latency_outcomes=small)
        planning_s += time.process_time() - began_s
        if now is None:
            break
        done.append(now)
        for pair in now.pairs:
            if cluster.busy:
                speed = cluster.speed(pair)
                small.append(measure_small(pair, speed, dice, cluster.busy))
            # What delays small messages does not affect large ones.
            speed = 1.0 if cluster.busy else cluster.speed(pair)
            outcomes.append(measure(pair, speed, dice, is_harsh=is_harsh))
        began_s = time.process_time()
        named = _named(locate_slow_elements(outcomes, cluster.switches))
        if small:
            named |= _named(locate_slow_elements(small, cluster.switches, LATENCY))
        locating_s = time.process_time() - began_s
        if not true <= named:
            named_by = 0
        elif not named_by:
            named_by = len(done)
    return SearchScore(
        rounds=len(done),
        named_by=named_by,
        pairs=sum(len(r.pairs) for r in done),
        right=len(named & true),
        wrong=len(named - true),
        missed=len(true - named),
        planning_s=planning_s + locating_s,
    )


def _named(result: SearchResult) -> set[tuple[str, tuple[object, ...]]]:
    return {(b.kind, b.switches or b.nodes) for b in result.slow_elements}


def _true(cluster: Cluster) -> set[tuple[str, tuple[object, ...]]]:
    return {
        *((NODE, (node,)) for node in cluster.nodes),
        *((LINK, pair) for pair in cluster.links),
        *((SWITCH, (place,)) for place in cluster.uplinks),
    }


def summary(count: int, fault: str, found: Sequence[SearchScore]) -> dict[str, object]:
    right, wrong = sum(f.right for f in found), sum(f.wrong for f in found)
    missed = sum(f.missed for f in found)
    return {
        "nodes": count,
        "fault": fault,
        "runs": len(found),
        "rounds": max(f.rounds for f in found),
        "named_by": max(f.named_by for f in found),
        "within_4": sum(0 < f.named_by <= 4 for f in found),
        "pairs": max(f.pairs for f in found),
        "precision": round(right / (right + wrong), 4) if right + wrong else None,
        "recall": round(right / (right + missed), 4) if right + missed else None,
        "false": wrong,
        "planning_s": round(max(f.planning_s for f in found), 3),
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
