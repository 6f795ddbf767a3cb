"""The checks of pairs of nodes: which node or link is slow, by how much, the remedy."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sample_records import healthy, make_record, records

from jaxsif.core.history import JobState
from jaxsif.core.records import Record
from jaxsif.core.topology import Topology, parse_topology
from jaxsif.pairs.model import Pair, PairTiming
from jaxsif.pairs.results import PairResults, pair_results
from jaxsif.pairs.rounds import Round, next_round
from jaxsif.verdict import render
from jaxsif.verdict.verdict import Verdict, judge

LARGE = 1 << 20
Times = Callable[[Pair], float | None]


def measured(
    topology: Topology, large_us: Times, small_us: Times, **facts: Any
) -> list[Record]:
    """The records of a search; each rank has the partner of the same local rank."""
    per_node = topology.processes_per_node
    places = [""] * topology.nodes
    emitted: list[Record] = []
    outcomes: list[PairTiming] = []
    small: list[PairTiming] = []
    done: list[Round] = []
    while now := next_round(outcomes, places, done, latency_outcomes=small):
        done.append(now)
        outcomes += [PairTiming(pair, large_us(pair)) for pair in now.pairs]
        small += [PairTiming(pair, small_us(pair)) for pair in now.pairs]
        for pair in now.pairs:
            for own, other in (pair, pair[::-1]):
                for local in range(per_node):
                    for size, time_us in ((8, small_us(pair)), (LARGE, large_us(pair))):
                        emitted.append(
                            make_record(
                                own * per_node + local,
                                "pair",
                                f"node{own + 1}",
                                round=now.number,
                                kind=now.kind,
                                partner=other * per_node + local,
                                partner_node=f"node{other + 1}",
                                size_bytes=size,
                                times_us=[] if time_us is None else [time_us] * 5,
                                timed_out=time_us is None,
                                **facts,
                            )
                        )
    return emitted


def verdict(
    label: str,
    large_us: Times,
    small_us: Times = lambda pair: 20.0,
    more: list[Record] | None = None,
) -> Verdict:
    topology = parse_topology(label)
    job_state = JobState()
    for record in records(healthy(topology)):
        job_state.add(record)
    for record in [*measured(topology, large_us, small_us), *(more or [])]:
        job_state.add(record)
    (judged,) = judge(job_state, topology)
    return judged


def slow_with(node: int, factor: float = 4.0) -> Times:
    return lambda pair: 1000.0 * (factor if node in pair else 1.0)


def even(pair: Pair) -> float:
    return 1000.0


def test_healthy_pairs_pass_and_are_shown_in_one_line():
    text = render.text(verdict("G16N8p16", even))

    assert (
        "8 pairs of 8 nodes in 2 rounds: median 2.1 GB/s each way, spread 2 %,"
        " slowest node1 and node2 at 1.00 of it\n" in text
    )
    assert text.splitlines()[-1].startswith("PASS  ")


def test_a_slow_node_fails_and_is_reported_with_the_lines_to_type():
    judged = verdict("G16N8p16", slow_with(6))

    (finding,) = judged.findings
    assert 1 == judged.status
    assert ("node-slow", (12, 13)) == (finding.kind, finding.ranks)
    assert finding.text.startswith(
        "node7: 0.25 of the median pair bandwidth (0.524 of 2.1 GB/s), with "
    )
    assert "--exclude=node7\n" in finding.remedy
    assert finding.remedy.endswith(
        'scontrol update nodename=node7 state=drain reason="jax-sif: 0.25 of the median'
        ' pair bandwidth (3 partners)"'
    )


@pytest.mark.parametrize(("factor", "status"), [(1 / 0.8, 0), (1 / 0.65, 1)])
def test_a_little_slow_is_a_warning(factor, status):
    judged = verdict("G16N8p16", slow_with(6, factor))

    assert ["node-slow"] == [finding.kind for finding in judged.findings]
    assert status == judged.status


def test_a_slow_link_names_both_ends():
    judged = verdict("G4N4p4", lambda p: 3000.0 if p == (1, 3) else 1000.0)

    (finding,) = judged.findings
    assert ("link-slow", (1, 3), 1) == (finding.kind, finding.ranks, judged.status)
    assert finding.text.startswith("node2 and node4: 0.33 of the median pair bandwidth")
    assert finding.remedy.endswith("--exclude=node4")


def test_a_node_that_is_late_with_small_messages_only_is_named_too():
    judged = verdict("G8N8p8", even, small_us=lambda p: 20.0 * (5 if 2 in p else 1))

    (finding,) = judged.findings
    assert "node3: 5.0 times the median pair latency (100 instead of 20 us)" in (
        finding.text
    )


def test_most_nodes_slow_is_a_fault_of_the_configuration():
    judged = verdict("G8N8p8", lambda p: 4000.0 if min(p) < 5 else 1000.0)

    (finding,) = judged.findings
    assert ("cluster-wide-slowness", 1) == (finding.kind, judged.status)
    assert "more than half of the 8 nodes" in finding.text


def fabric(rank: int, node: str, gb_per_s: float) -> Record:
    nics = [{"name": "mlx5_0", "kind": "infiniband", "gb_per_s": gb_per_s}]
    nics[0]["is_active"] = True
    return make_record(rank, "fabric", node, gpu="H100", gpus=1, nics=nics)


@pytest.mark.parametrize(
    ("gb_per_s", "kinds", "status"),
    [
        (1.2, [], 0),
        (1.35, ["cluster-wide-slowness"], 0),
        (2.0, ["cluster-wide-slowness"], 1),
    ],
)
def test_all_pairs_are_compared_with_the_network_cards(gb_per_s, kinds, status):
    more = [fabric(rank, f"node{rank + 1}", gb_per_s) for rank in range(2)]
    judged = verdict("G2N2p2", even, more=more)

    assert kinds == [finding.kind for finding in judged.findings]
    assert status == judged.status


def test_two_nodes_alone_are_a_warning():
    judged = verdict("G2N2p2", even)

    assert [("no-reference-pair", True)] == [
        (f.kind, f.is_warning) for f in judged.findings
    ]
    assert 0 == judged.status


def test_one_node_measured_nothing_and_so_nothing_is_reported():
    facts = {"round": 0, "kind": "disjoint", "partner": 0, "partner_node": "node1"}
    alone = make_record(
        0, "pair", **facts, size_bytes=0, times_us=[], wrong_elements=0, timed_out=False
    )
    judged = verdict("G1N1p1", even, more=[alone])

    assert (["no-reference-pair"], 3) == (
        [f.kind for f in judged.findings],
        judged.status,
    )


def test_pairs_that_do_not_answer_have_timed_out_and_are_not_slow():
    judged = verdict("G8N8p8", lambda p: None if 4 in p else 1000.0)

    (finding,) = judged.findings
    assert ("pair-timeout", (4,)) == (finding.kind, finding.ranks)
    assert "their speed is unknown" in finding.text
    assert finding.remedy.endswith("--exclude=node5")


def timeouts(first: int, second: int, size_bytes: int) -> list[Record]:
    """The records of two ranks that began the round after all others."""
    facts = {"round": 9, "kind": "retest", "size_bytes": size_bytes}
    return [
        make_record(
            own,
            "pair",
            f"node{own + 1}",
            **facts,
            partner=other,
            partner_node=f"node{other + 1}",
            times_us=[],
            wrong_elements=0,
            timed_out=True,
        )
        for own, other in ((first, second), (second, first))
    ]


@pytest.mark.parametrize("size_bytes", [8, LARGE])
def test_a_pair_times_out_whatever_it_was_about_to_exchange(size_bytes):
    judged = verdict("G8N8p8", even, more=timeouts(2, 5, size_bytes))

    (finding,) = judged.findings
    assert ("pair-timeout", (2, 5), 1) == (finding.kind, finding.ranks, judged.status)
    assert finding.text.startswith("node3 and node6 did not respond to each other")


def test_ranks_that_timed_out_are_not_named_for_their_exit():
    topology = parse_topology("G4N4p4")
    job = healthy(topology)
    for history in job.values():
        del history["done"]
    job_state = JobState()
    for record in [*records(job), *timeouts(1, 3, 8)]:
        job_state.add(record)
    job_state.add_line("srun: error: node2: task 1: Exited with exit code 1")
    for rank in (0, 2):
        job_state.add(make_record(rank, "terminated", f"node{rank + 1}"))
    (judged,) = judge(job_state, topology)

    assert (["pair-timeout"], 1) == ([f.kind for f in judged.findings], judged.status)


def test_a_late_link_of_a_node_that_is_named_already_is_not_reported_as_well():
    judged = verdict(
        "G8N8p8", slow_with(2), small_us=lambda p: 20.0 * (9 if p == (2, 6) else 1)
    )

    assert ["node-slow"] == [finding.kind for finding in judged.findings]


def test_wrong_data_fails_whatever_its_speed():
    topology = parse_topology("G8N8p8")
    wrong = measured(topology, even, even, wrong_elements=3)[0]
    judged = verdict("G8N8p8", even, more=[wrong])

    assert ("data-corrupt-pair", 1) == (judged.findings[0].kind, judged.status)


def test_a_job_without_pairs_reports_none():
    job_state = JobState()
    topology = parse_topology("G8N2p8")
    for record in records(healthy(topology)):
        job_state.add(record)
    (judged,) = judge(job_state, topology)

    assert pair_results(judged.histories, 4) is None
    assert " pairs of " not in render.text(judged)


def test_two_nodes_are_as_fast_as_their_slowest_ranks():
    def pair_record(rank: int, partner: int, times: list[float], node: str, other: str):
        facts = {"round": 1, "kind": "full", "partner": partner, "partner_node": other}
        return make_record(
            rank, "pair", node, **facts, size_bytes=8, times_us=times, timed_out=False
        )

    job_state = JobState()
    for record in (
        pair_record(0, 2, [10.0, 10.0], "node1", "node2"),
        pair_record(1, 3, [70.0, 20.0], "node1", "node2"),
        pair_record(2, 0, [10.0, 90.0], "node2", "node1"),
        pair_record(3, 1, [30.0, 20.0], "node2", "node1"),
    ):
        job_state.add(record)
    (sample_records,) = job_state.steps.values()
    pairs = pair_results(sample_records, 2)

    assert isinstance(pairs, PairResults)
    assert 25.0 == pairs.largest[0].time_us
