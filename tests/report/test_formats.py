"""JUnit XML, CSV, Prometheus and text: each is read by what reads it elsewhere."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import csv
import io
from xml.etree import ElementTree as ET

import msgspec
import pytest
import reported
from prometheus_client.parser import text_string_to_metric_families
from reported import HOSTILE, hostile, verdicts
from sample_records import VERSIONS

from jaxsif.core.image import Versions
from jaxsif.core.topology import parse_topology
from jaxsif.report.csv_export import COLUMNS, as_csv
from jaxsif.report.junit import as_junit
from jaxsif.report.prometheus import as_prometheus
from jaxsif.report.text import as_text


def cases(xml: str) -> dict[str, ET.Element]:
    return {case.get("name", ""): case for case in ET.fromstring(xml).iter("testcase")}


def results(xml: str) -> dict[str, str]:
    """Each case with the element that says how it went."""
    return {
        name: next((e.tag for e in case if e.tag != "system-out"), "passed")
        for name, case in cases(xml).items()
    }


def test_every_format_has_the_versions_of_the_verdict():
    (verdict,) = verdicts(reported.passed())
    versions = {"kit": "1.0", "image": "jax-sif-0.12.0.1-cpu", "jax": "0.12.0.1"}

    (suite,) = ET.fromstring(as_junit([verdict])).iter("testsuite")
    families = text_string_to_metric_families(as_prometheus([verdict]))
    (info,) = (f for f in families if f.name == "jaxsif_verify_info")

    assert "properties" == suite[0].tag
    assert versions == {e.get("name"): e.get("value") for e in suite[0]}
    assert versions.items() <= info.samples[0].labels.items()
    assert as_text(verdict).endswith(f"verified by {VERSIONS}\n")


def test_outside_an_image_no_format_has_a_version_of_one():
    (verdict,) = verdicts(reported.passed())
    verdict = msgspec.structs.replace(verdict, verified_by=Versions("1.0"))

    (suite,) = ET.fromstring(as_junit([verdict])).iter("testsuite")

    assert ["kit"] == [e.get("name") for e in suite[0]]
    assert "jax-sif 1.0, no image, no JAX" in as_text(verdict)


def test_a_pass_has_a_case_for_everything_that_was_looked_at():
    found = results(as_junit(verdicts(reported.passed())))

    assert {"passed"} == set(found.values())
    assert {
        "processes",
        "devices",
        "software",
        "all-reduce",
        "identity",
        "ends",
        "transport",
        "bandwidth all-reduce f32",
        "bandwidth all-gather f32",
        "bandwidth all-to-all f32",
        "bandwidth all-reduce bf16",
        "pairs of node1",
        "pairs of node2",
        "verdict",
    } == set(found)


def test_a_failure_carries_its_text_its_remedy_and_who_it_names():
    found = cases(as_junit(verdicts(reported.failed())))

    failure = found["all-reduce"].find("failure")
    assert failure is not None
    assert "wrong-sum" == failure.get("type")
    assert "gave 9, 8 expected" in (failure.get("message") or "")
    assert "-> do not trust results" in (failure.text or "")
    assert "names: rank 5 on node2" in (failure.text or "")


def test_findings_stand_at_what_they_speak_of():
    found = results(as_junit(verdicts(reported.failed())))

    failed = {name for name, result in found.items() if result == "failure"}
    assert {"all-reduce", "identity", "ends", "pairs of node2", "verdict"} == failed


def test_the_counts_are_those_of_the_cases():
    root = ET.fromstring(as_junit(verdicts(reported.failed(), reported.silent())))

    for holder in (root, *root.iter("testsuite")):
        for tag, key in (
            ("testcase", "tests"),
            ("failure", "failures"),
            ("error", "errors"),
            ("skipped", "skipped"),
        ):
            assert len(list(holder.iter(tag))) == int(holder.get(key, "-1"))
    assert 2 == len(list(root.iter("testsuite")))


def test_silence_is_an_error_and_no_pass():
    found = results(as_junit(verdicts(reported.silent())))

    assert "error" == found["verdict"]
    assert {"skipped"} == {found[name] for name in ("processes", "devices", "identity")}
    assert "passed" not in found.values()


def test_a_warning_is_no_failure_but_is_shown():
    content = reported.passed()
    content["verdicts"][0]["findings"] = [
        {
            "kind": "bandwidth-low",
            "text": "all-reduce is slow",
            "remedy": "look",
            "ranks": [],
            "is_warning": True,
        }
    ]
    found = cases(as_junit(verdicts(content)))
    case = found["bandwidth all-reduce f32"]

    assert case.find("failure") is None
    assert "warning: all-reduce is slow\n-> look" in case.findtext("system-out", "")


def test_a_strict_failure_of_warnings_alone_fails():
    content = reported.passed()
    content["verdicts"][0].update(status=1, verdict="FAIL", summary="too slow")

    assert "failure" == results(as_junit(verdicts(content)))["verdict"]


def test_every_known_kind_of_finding_finds_its_case():
    content = reported.passed()
    kinds = (
        "rank-missing",
        "platform",
        "jax-differs",
        "network-differs",
        "no-such-kind",
    )
    content["verdicts"][0]["findings"] = [
        {"kind": kind, "text": kind, "remedy": "r", "ranks": [], "is_warning": False}
        for kind in kinds
    ]
    found = cases(as_junit(verdicts(content)))

    places = {
        failure.get("type"): name
        for name, case in found.items()
        for failure in case.iter("failure")
    }
    assert {
        "rank-missing": "processes",
        "platform": "devices",
        "jax-differs": "software",
        "network-differs": "transport",
        "no-such-kind": "ends",
    } == places


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_there_is_a_row_for_each_rank_measurement_and_trial():
    content = reported.passed()
    ranks = content["verdicts"][0]["ranks"]
    phase_rows = sum(len(rank["phases"]) for rank in ranks)
    trials = sum(
        len(m.get("times_us", ())) for rank in ranks for m in rank["measurements"]
    )

    found = rows(as_csv(verdicts(content)))

    assert phase_rows + trials == len(found)
    assert COLUMNS == tuple(found[0])


def test_a_row_holds_the_sample_as_it_was_measured():
    content = reported.passed()
    record = content["verdicts"][0]["ranks"][5]["measurements"][0]

    row = next(
        row
        for row in rows(as_csv(verdicts(content)))
        if (row["rank"], row["measurement"], row["trial"]) == ("5", "bandwidth", "2")
    )

    assert float(row["time_us"]) == record["times_us"][2]
    speed = record["size_bytes"] / record["times_us"][2] / 1e3
    assert float(row["bus_gb_per_s"]) == pytest.approx(speed * 1.75, rel=1e-5)


def test_an_exchange_that_never_ended_has_a_row_without_a_time():
    content = reported.failed(parse_topology("G24N12p24"))

    lost = [row for row in rows(as_csv(verdicts(content))) if row["timed_out"] == "1"]

    assert {"node1", "node12"} == {row["node"] for row in lost}
    assert {""} == {row["time_us"] for row in lost}


def samples(text: str) -> dict[str, list[tuple[dict[str, str], float]]]:
    return {
        family.name: [(dict(s.labels), s.value) for s in family.samples]
        for family in text_string_to_metric_families(text)
    }


def test_prometheus_reads_the_metrics():
    found = samples(as_prometheus(verdicts(reported.failed())))

    where = {"cluster": "minicluster", "topology": "G8N2p8"}
    assert [(where, 1.0)] == found["jaxsif_verdict_status"]
    assert ({**where, "severity": "failure"}, 4.0) in found["jaxsif_findings"]
    assert ({**where, "node": "node2"}, 3.0) in found["jaxsif_node_ranks_done"]
    label = {"collective": "all-reduce", "dtype": "f32", "size_bytes": str(8 * 4**13)}
    speeds = [
        v
        for labels, v in found["jaxsif_busbw_bytes_per_second"]
        if labels == {**where, **label}
    ]
    assert 9e9 < speeds[0] < 10e9


@pytest.mark.parametrize("make", [reported.passed, reported.failed, reported.silent])
def test_every_metric_is_a_gauge_with_help_and_names_its_unit(make):
    text = as_prometheus(verdicts(make()))

    names = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    helped = [
        line.split()[2] for line in text.splitlines() if line.startswith("# HELP")
    ]
    assert names == helped
    assert len(names) == len(set(names))
    units = ("_seconds", "_bytes_per_second", "_status", "_findings", "_info")
    counts = ("_done", "_named", "_elements", "_timed_out")
    assert [] == [n for n in names if not n.endswith(units + counts)]
    assert text.endswith("\n")


def test_no_series_stands_twice_when_several_verdicts_are_given():
    older, newer = reported.failed(), reported.passed()
    for rank in newer["verdicts"][0]["ranks"]:
        for record in rank["phases"].values():
            record["time"] += 100
    text = as_prometheus(verdicts(newer, older))

    series = [line.rpartition(" ")[0] for line in text.splitlines() if line[0] != "#"]
    assert len(series) == len(set(series))
    assert [0.0] == [value for _, value in samples(text)["jaxsif_verdict_status"]]


def test_a_step_is_no_label_but_its_cluster_is():
    content = reported.passed()
    content["verdicts"][0]["step"] = "big.cluster.4711.0"

    (labels, _), *_ = samples(as_prometheus(verdicts(content)))["jaxsif_verdict_status"]

    assert {"cluster": "big.cluster", "topology": "G8N2p8"} == labels


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("passed", reported.passed()),
        ("failed", reported.failed()),
        ("failed-large", reported.failed(parse_topology("G24N12p24"))),
    ],
)
def test_the_text(golden, name, content):
    golden(f"text-{name}", as_text(verdicts(content)[0]))


def test_no_enemy_breaks_the_xml():
    xml = as_junit(hostile())

    assert ET.fromstring(xml) is not None
    assert "\x1b" not in xml


def test_no_enemy_breaks_the_csv():
    found = rows(as_csv(hostile()))

    assert HOSTILE in {row["node"] for row in found}
    assert {len(COLUMNS)} == {len(row) for row in found}


def test_no_enemy_breaks_the_metrics():
    found = samples(as_prometheus(hostile()))

    nodes = {labels["node"] for labels, _ in found["jaxsif_node_ranks_done"]}
    assert 12 == len(nodes)
    assert any('<b>"node"&\'' in node for node in nodes)


def test_no_enemy_colours_the_terminal():
    text = as_text(hostile()[0])

    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "\\u001b[31m" in text


def test_no_enemy_writes_a_line_of_his_own():
    content = reported.failed()
    content["verdicts"][0]["findings"][0]["text"] += "\nPASS  G8N2p8: all is well"

    lines = as_text(verdicts(content)[0]).splitlines()

    assert [] == [line for line in lines if line.startswith("PASS")]
