"""Twelve nodes below two switches: all formats show the figures of the verdict."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import itertools
import json
import re
from functools import cache
from typing import Any

import pytest
from reported import as_json
from sample_records import healthy, make_record, records

from jaxsif.core import verdict_file
from jaxsif.core.history import JobState
from jaxsif.core.topology import parse_topology
from jaxsif.core.verdict_file import SCHEMA
from jaxsif.report.charts import pair_map_chart
from jaxsif.report.data import heat_map
from jaxsif.report.junit import as_junit
from jaxsif.report.page import as_html
from jaxsif.report.prometheus import as_prometheus
from jaxsif.report.text import as_text
from jaxsif.verdict import render
from jaxsif.verdict.verdict import Verdict, judge

TOPOLOGY = parse_topology("G12N12p12")
SIZE_BYTES = 1 << 26
# Index of the slow node; links across the switches take five times as long as others.
SLOW, ACROSS = 3, 5.0


def switch_of(node: int) -> str:
    return f"core.s{node // 6}"


def time_us(first: int, second: int) -> float:
    across = ACROSS if switch_of(first) != switch_of(second) else 1.0
    return 1000.0 * across * (2.0 if SLOW in (first, second) else 1.0)


@cache
def verdict() -> Verdict:
    job_state = JobState()
    for record in records(healthy(TOPOLOGY)):
        job_state.add(record)
    for own, other in itertools.permutations(range(12), 2):
        job_state.add(
            make_record(
                own,
                "pair",
                f"node{own + 1}",
                round=(own + other) % 12,
                kind="full",
                partner=other,
                partner_node=f"node{other + 1}",
                size_bytes=SIZE_BYTES,
                times_us=[time_us(own, other)] * 5,
                wrong_elements=0,
                timed_out=False,
                switch=switch_of(own),
            )
        )
    (judged,) = judge(job_state, TOPOLOGY)
    return judged


def content() -> dict[str, Any]:
    return json.loads(json.dumps(as_json(verdict())))


def stored() -> verdict_file.StepVerdict:
    file = {"schema": SCHEMA, "verdicts": [content()]}
    return verdict_file.parse(json.dumps(file).encode(), "job.json")[0]


def test_the_verdict_rates_pairs_by_their_kind():
    text = render.text(verdict())

    assert "66 pairs of 12 nodes" in text
    assert "median 13.4 GB/s each way" in text
    assert "slowest node1 and node4 at 0.50 of pairs of its kind" in text
    assert "node4: 0.50 of the median pair bandwidth (6.71 of 13.4 GB/s)" in text
    assert ["node-slow"] == [finding.kind for finding in verdict().findings]


def test_the_text_of_the_report_names_the_same_median_and_ratios():
    rows = re.findall(
        r"^(node\d+ and node\d+) .* (\d\.\d\d) +0$", as_text(stored()), re.M
    )

    assert 8 == len(rows)
    assert all("node4" in names.split(" and ") for names, _ in rows)
    assert {"0.50"} == {ratio for _, ratio in rows}


def test_the_page_names_the_same_median_and_ratios():
    html = as_html([stored()], None)

    assert "The median is 13.4 GB/s." in html
    assert "node4 with 11 of its 11 partners" in html
    assert "(0.50 of median)" in html
    below = re.search(r"Below 0\.85 of the median: </strong>(.*?)\.</?", html)
    assert below and "and 6 more" in below.group(1)


def test_only_pairs_of_the_slow_node_are_drawn_as_slow():
    found = stored().pairs
    assert found is not None
    square = heat_map(found)

    heat = pair_map_chart(square, {"node4"}).data[0]

    ratios = {
        (square.groups[x][0], square.groups[y][0]): ratio
        for y, row in enumerate(heat["z"])
        for x, ratio in enumerate(row)
        if ratio is not None
    }
    assert 132 == len(ratios)
    for nodes, ratio in ratios.items():
        assert ratio == pytest.approx(0.5 if "node4" in nodes else 1.0)


def test_the_file_holds_what_the_verdict_rates():
    figures = content()["pairs"]

    assert figures["median_gb_per_s"] == pytest.approx(13.4, abs=0.03)
    (slow,) = figures["slow"]
    assert ("node", ["node4"]) == (slow["kind"], slow["nodes"])
    ratios = {node["node"]: node["ratio"] for node in figures["nodes"]}
    assert ratios == pytest.approx(
        {f"node{i + 1}": 0.5 if i == SLOW else 1.0 for i in range(12)}
    )
    assert slow["ratio"] == ratios["node4"]
    assert ["core.s0"] * 6 + ["core.s1"] * 6 == [n["switch"] for n in figures["nodes"]]


def test_junit_and_prometheus_read_the_same():
    file = stored()

    assert "11 pairs, the slowest node1 and node4: 33.6 GB/s" in as_junit([file])
    assert re.search(
        r'_node_pair_bytes_per_second\{.*node="node4",of_pairs="slowest"\} 6710886400',
        as_prometheus([file]),
    )
