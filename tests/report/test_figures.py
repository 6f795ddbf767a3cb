"""The report's data: bandwidths, pairs, timelines and the environment."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
from typing import Any

import pytest
import reported
from sample_records import fields_of, make_record

from jaxsif.core import verdict_file
from jaxsif.core.topology import parse_topology
from jaxsif.core.verdict_file import BandwidthFigure, NodePairs
from jaxsif.report import data

TIMES = ("time", "process_start", "entry_start", "preflight_done", "jax_imported")
G24N12P24 = parse_topology("G24N12p24")


def verdict(content: dict[str, Any]) -> verdict_file.StepVerdict:
    return verdict_file.parse(json.dumps(content).encode(), "job.json")[0]


def bare(**measured: list[dict[str, Any]]) -> verdict_file.StepVerdict:
    """A pass whose ranks measured just this: `node1_0=[...]` is rank 0's."""
    content = reported.passed()
    for rank in content["verdicts"][0]["ranks"]:
        own = measured.get(f"rank{rank['rank']}", [])
        rank["measurements"] = [
            fields_of(make_record(rank["rank"], node=rank["node"], **facts))
            for facts in own
        ]
    reported.with_figures(content["verdicts"][0], reported.G8N2P8)
    return verdict(content)


def bandwidths(found: verdict_file.StepVerdict) -> tuple[BandwidthFigure, ...]:
    return found.bandwidth


def node_pairs(found: verdict_file.StepVerdict) -> NodePairs:
    return found.pairs or NodePairs()


def _times(*times_us: float, **changes: Any) -> dict[str, Any]:
    return {
        "phase": "bandwidth",
        "collective": "all-reduce",
        "dtype": "f32",
        "size_bytes": 8_000_000,
        "devices": 8,
        "times_us": list(times_us),
        **changes,
    }


def _pair(partner_node: str, *times_us: float, **changes: Any) -> dict[str, Any]:
    return {
        "phase": "pair",
        "partner": 4,
        "partner_node": partner_node,
        "size_bytes": 4_000_000,
        "times_us": list(times_us),
        "round": 0,
        "timed_out": False,
        **changes,
    }


def test_a_time_is_the_mean_of_the_ranks_and_the_median_of_the_trials():
    found = bandwidths(
        bare(rank0=[_times(100, 200, 900)], rank1=[_times(300, 400, 100)])
    )

    assert [300.0] == [point.time_us for point in found]
    # 8 MB in 200 and in 300 us, times 1.75.
    assert [(70.0, pytest.approx(140 / 3), 1)] == [
        (p.fastest_bus_gb_per_s, p.slowest_bus_gb_per_s, p.slowest_rank) for p in found
    ]


@pytest.mark.parametrize(
    ("collective", "expected"),
    [
        ("all-reduce", 14.0),
        ("all-gather", 7.0),
        ("reduce-scatter", 7.0),
        ("all-to-all", 7.0),
        ("broadcast", 8.0),
        ("send-recv", 8.0),
    ],
)
def test_bus_bandwidth_is_that_of_nccl_tests(collective, expected):
    (point,) = bandwidths(bare(rank0=[_times(1000, collective=collective)]))

    assert 8.0 == point.alg_gb_per_s
    assert expected == pytest.approx(point.bus_gb_per_s)


def test_one_device_alone_has_no_bus_bandwidth_as_with_nccl_tests():
    (point,) = bandwidths(bare(rank0=[_times(1000, devices=1)]))

    assert (8.0, 0.0) == (point.alg_gb_per_s, point.bus_gb_per_s)


def test_the_headline_is_the_largest_size_of_each_collective():
    found = bandwidths(verdict(reported.passed()))

    assert {p.size_bytes for p in data.headlines(found)} == {8 * 4**13}
    assert 4 == len(data.headlines(found))


def test_what_was_expected_holds_for_its_collective_alone():
    found = bandwidths(verdict(reported.passed()))

    expected = {(p.collective, p.dtype) for p in found if p.ratio}

    assert {("all-reduce", "f32")} == expected


def test_ranks_exchange_in_the_shorter_time_and_nodes_in_the_longest_of_theirs():
    found = node_pairs(
        bare(
            rank0=[_pair("node2", 400, 1000, 400)],
            rank4=[_pair("node1", 800, 800, 900, partner=0)],
            rank1=[_pair("node2", 1000, 500, 1000, partner=5)],
            rank5=[_pair("node1", 9000, 9000, 2000, partner=1)],
        )
    )

    # The trials take 1000, 800 and 1000 us; four devices of a node send 4 MB each.
    assert [("node1", "node2")] == [pair.nodes for pair in found.pairs]
    assert [(16.0, 1.0, 12)] == [(p.gb_per_s, p.ratio, p.trials) for p in found.pairs]
    assert {5, 1} == set(found.pairs[0].ranks)


def test_the_headline_is_the_largest_size_for_which_something_was_expected():
    content = reported.passed()
    reported.with_figures(content["verdicts"][0], reported.G8N2P8, 8 * 4**12)
    found = data.headlines(bandwidths(verdict(content)))

    sizes = {(p.collective, p.dtype): p.size_bytes for p in found}
    assert 8 * 4**12 == sizes["all-reduce", "f32"]
    assert 8 * 4**13 == sizes["all-gather", "f32"]


def test_a_pair_that_met_twice_has_the_median_of_its_rounds():
    times = {1: 1000, 2: 3000, 3: 2000}
    pair_records = [
        _pair("node2", time, round=number) for number, time in times.items()
    ]

    assert [8.0] == [p.gb_per_s for p in node_pairs(bare(rank0=pair_records)).pairs]


def test_ranks_of_one_node_are_no_pair_of_nodes():
    assert () == node_pairs(bare(rank0=[_pair("node1", 1000)])).pairs


def test_only_the_largest_size_gives_a_bandwidth():
    small = _pair("node2", 9000, size_bytes=8)
    found = node_pairs(bare(rank0=[small, _pair("node2", 1000)]))

    assert [16.0] == [pair.gb_per_s for pair in found.pairs]


def test_a_timeout_is_no_slow_pair_and_comes_first():
    found = node_pairs(verdict(reported.failed(G24N12P24)))

    assert ("node1", "node12") == found.pairs[0].nodes
    assert (None, True) == (found.pairs[0].gb_per_s, found.pairs[0].timed_out)
    assert "node2" in found.pairs[1].nodes
    assert 0.25 < (found.pairs[1].ratio or 0) < 0.35


def test_nodes_stand_in_the_order_of_their_ranks():
    found = node_pairs(verdict(reported.passed(G24N12P24)))

    assert [f"node{i + 1}" for i in range(12)] == [node.node for node in found.nodes]


def test_nodes_stand_by_switch_where_slurm_has_it():
    content = reported.passed(G24N12P24)
    for rank in content["verdicts"][0]["ranks"]:
        odd = int(rank["node"].removeprefix("node")) % 2
        for record in rank["measurements"]:
            record["switch"] = f"core.s{odd}"
    reported.with_figures(content["verdicts"][0], G24N12P24)

    nodes = [node.node for node in node_pairs(verdict(content)).nodes]

    assert ["node2", "node4", "node6"] == nodes[:3]
    assert ["node9", "node11"] == nodes[-2:]


def test_a_big_map_shows_groups_of_neighbours_by_their_slowest_pair():
    found = node_pairs(verdict(reported.failed(G24N12P24)))

    square = data.heat_map(found, limit=6)

    assert ("node1", "node2") == square.groups[0]
    assert (6, 2) == (len(square.slowest), square.nodes_per_cell)
    assert all(
        row[0] is not None and {"node1", "node2"} & set(row[0].nodes)
        for row in square.slowest
    )


def test_an_interval_goes_from_one_milestone_to_the_next():
    timeline = data.timelines(verdict(reported.passed()))[0]

    assert [s.end_s for s in timeline.intervals[:-1]] == [
        s.begin_s for s in timeline.intervals[1:]
    ]
    assert list(data.LABELS.values()) == [s.label for s in timeline.intervals]


def test_every_node_counts_by_its_own_clock():
    content = reported.passed()
    for rank in content["verdicts"][0]["ranks"]:
        if rank["node"] == "node2":
            for record in rank["phases"].values():
                for name in TIMES:
                    if name in record:
                        record[name] += 3600

    ends = [timeline.end_s for timeline in data.timelines(verdict(content))]

    assert max(ends) < 11


def test_the_breakdown_names_the_slowest_rank_of_each_interval():
    content = reported.passed()
    content["verdicts"][0]["ranks"][6]["phases"]["devices"]["time"] += 0.5

    parts = {
        part.label: part
        for part in data.startup_breakdown(data.timelines(verdict(content)))
    }

    part = parts[data.LABELS[data.DEVICES]]
    assert (6, "node2") == (part.slowest.rank, part.slowest.node)
    assert part.longest_s == pytest.approx(part.median_s + 0.5, abs=0.01)


def test_what_is_not_reported_of_the_start_is_named():
    content = reported.passed()
    for rank in content["verdicts"][0]["ranks"]:
        rank["phases"]["started"]["entry_start"] = None
        rank["phases"]["connected"]["jax_imported"] = None

    notes = " ".join(data.unknown_times(verdict(content)))

    assert "when the image was open" in notes
    assert "when JAX was imported" in notes
    assert "when the process began" not in notes


def test_a_rank_that_failed_lives_until_its_last_word():
    content = reported.failed()
    reached = content["verdicts"][0]["ranks"][6]["phases"]
    reached["failed"] = {**reached["allreduce"], "phase": "failed"}
    reached["failed"] |= {"error": "ValueError", "problems": []}
    reached["failed"]["time"] += 2

    timeline = data.timelines(verdict(content))[6]

    assert "until the end" == timeline.intervals[-1].label
    assert 2 == pytest.approx(timeline.intervals[-1].length_s)


def test_of_many_ranks_those_are_shown_that_findings_name():
    found = data.timelines(verdict(reported.passed(G24N12P24)))

    shown = [
        timeline.rank.rank for timeline in data.select_ranks(found, [3, 17], limit=6)
    ]

    assert 6 == len(shown)
    assert {3, 17} <= set(shown)
    assert sorted(shown) == shown


def test_the_environment_says_who_differs():
    content = reported.passed()
    content["verdicts"][0]["ranks"][5]["phases"]["connected"]["jax"] = "0.9"

    facts = {(f.name, f.value): f.location for f in data.properties(verdict(content))}

    assert "rank 5" == facts["JAX", "0.9"]
    assert "ranks 0-4, 6-7" == facts["JAX", "1.0"]
    assert "" == facts["jaxlib", "1.0"]
    assert "node2" == facts["transport in use", "sockets on eth0"]
    fabric = next(value for name, value in facts if name == "fabric")
    assert fabric.startswith("4 x A100-SXM4-80GB, NVLink 300 GB/s, infiniband mlx5_0")
