"""Verdicts as JUnit XML, for GitLab, Jenkins and ReFrame."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from xml.etree import ElementTree as ET

import msgspec

from jaxsif.core.errors import COULD_NOT_TELL, FAIL
from jaxsif.core.evidence import Finding
from jaxsif.core.image import Versions
from jaxsif.core.records import TransportRecord
from jaxsif.core.text import format_gb_per_s, format_size, plural
from jaxsif.core.verdict_file import NodePairs, StepVerdict
from jaxsif.html.markup import escape_invisible
from jaxsif.report.data import headlines, named_by

# The case that every verdict has.
_VERDICT = "verdict"
# By the kind of a finding. Other kinds, such as causes of the log catalogue, belong to
# the end of the ranks.
_PROCESSES, _DEVICES, _SOFTWARE = "processes", "devices", "software"
_SUM, _IDENTITY, _ENDS = "all-reduce", "identity", "ends"
_BANDWIDTH, _PAIRS, _TRANSPORT = "bandwidth", "pairs", "transport"
_GROUPS = {
    "independent-processes": _PROCESSES,
    "duplicate-rank": _PROCESSES,
    "process-count": _PROCESSES,
    "rank-missing": _PROCESSES,
    "node-count": _PROCESSES,
    "allocation-differs": _PROCESSES,
    "group-size": _PROCESSES,
    "rank-mismatch": _PROCESSES,
    "platform": _DEVICES,
    "device-shared": _DEVICES,
    "local-devices": _DEVICES,
    "total-devices": _DEVICES,
    "devices-not-reported": _DEVICES,
    "wrong-sum": _SUM,
    "foreign-peer": _IDENTITY,
    "peers-not-verified": _IDENTITY,
}
# By the prefix of a kind.
_PREFIXES = {
    "bandwidth": _BANDWIDTH,
    "straggler": _BANDWIDTH,
    "baseline-no-match": _BANDWIDTH,
    "data-corrupt-collective": _BANDWIDTH,
    "pair-slow-ambiguous": _PAIRS,
    "pair": _PAIRS,
    "link": _PAIRS,
    "data-corrupt-pair": _PAIRS,
    "switch": _PAIRS,
    "node-slow": _PAIRS,
    "transport": _TRANSPORT,
    "network": _TRANSPORT,
    "gpudirect": _TRANSPORT,
    "nvlink": _TRANSPORT,
}


def as_junit(verdicts: Iterable[StepVerdict]) -> str:
    """A suite for each verdict, with a case for each check.

    A finding is a failure, an inconclusive one an error, and a check without records is
    skipped. The case `verdict` is the result of jax-sif verify, so that skipped cases
    are not mistaken for a pass.
    """
    suites = [_suite(verdict) for verdict in verdicts]
    root = ET.Element("testsuites", {"name": "jax-sif", **_totals(suites)})
    root.extend(suites)
    ET.indent(root)
    body: str = ET.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{body}\n'


def _suite(verdict: StepVerdict) -> ET.Element:
    name = f"jax-sif {verdict.topology.label} {verdict.name}"
    cases = [_case(group, verdict) for group in test_cases(verdict)]
    cases.append(_verdict_case(verdict))
    counts = {
        "tests": len(cases),
        "failures": sum(case.find("failure") is not None for case in cases),
        "errors": sum(case.find("error") is not None for case in cases),
        "skipped": sum(case.find("skipped") is not None for case in cases),
    }
    suite = ET.Element(
        "testsuite", name=escape_invisible(name), time=f"{_length_s(verdict):.3f}"
    )
    for key, count in counts.items():
        suite.set(key, str(count))
    if verdict.start_time_s is not None:
        when = datetime.fromtimestamp(verdict.start_time_s, timezone.utc)
        suite.set("timestamp", when.strftime("%Y-%m-%dT%H:%M:%S"))
    suite.append(_properties(verdict.verified_by))
    suite.extend(cases)
    return suite


def _properties(verified_by: Versions) -> ET.Element:
    """The versions of what formed the verdict; readers expect them before the cases."""
    properties = ET.Element("properties")
    for name, value in msgspec.structs.asdict(verified_by).items():
        if value is not None:
            text = escape_invisible(value)
            ET.SubElement(properties, "property", name=name, value=text)
    return properties


def _case(group: TestCase, verdict: StepVerdict) -> ET.Element:
    case = _named(group.name, verdict)
    wrong = [f for f in group.findings if not f.is_warning]
    if wrong:
        kind = "failure" if any(f.is_failure for f in wrong) else "error"
        _add_failure(case, kind, wrong, verdict)
    elif group.count == 0:
        ET.SubElement(case, "skipped", message="no rank reported it")
    warnings = [f for f in group.findings if f.is_warning]
    lines = [group.text, *(f"warning: {_message(f, verdict)}" for f in warnings)]
    if text := "\n".join(line for line in lines if line):
        ET.SubElement(case, "system-out").text = escape_invisible(text)
    return case


def _verdict_case(verdict: StepVerdict) -> ET.Element:
    case = _named(_VERDICT, verdict)
    kind = {FAIL: "failure", COULD_NOT_TELL: "error"}.get(verdict.status)
    if kind is not None:
        problem = ET.SubElement(case, kind, message=escape_invisible(verdict.summary))
        problem.set("type", verdict.verdict)
        problem.text = escape_invisible(verdict.summary)
    else:
        ET.SubElement(case, "system-out").text = escape_invisible(verdict.summary)
    return case


def _add_failure(
    case: ET.Element, kind: str, findings: list[Finding], verdict: StepVerdict
) -> None:
    """One element with all findings, because readers show only the first."""
    problem = ET.SubElement(case, kind, message=escape_invisible(findings[0].text))
    problem.set("type", escape_invisible(findings[0].kind))
    problem.text = escape_invisible("\n\n".join(_message(f, verdict) for f in findings))


def _message(finding: Finding, verdict: StepVerdict) -> str:
    named = named_by(finding, verdict)
    who = f"\nnames: {named}" if named else ""
    return f"{finding.text}\n-> {finding.remedy}{who}"


def _named(name: str, verdict: StepVerdict) -> ET.Element:
    classname = f"jax-sif.{verdict.topology.label}"
    return ET.Element(
        "testcase", name=escape_invisible(name), classname=escape_invisible(classname)
    )


def _length_s(verdict: StepVerdict) -> float:
    """The longest time from the first to the last record of a node."""
    times: dict[str, list[float]] = {}
    for rank in verdict.ranks:
        times.setdefault(rank.node, []).extend(rank.times_s.values())
    return max((max(t) - min(t) for t in times.values() if t), default=0.0)


def _totals(suites: Iterable[ET.Element]) -> dict[str, str]:
    keys = ("tests", "failures", "errors", "skipped")
    return {key: str(sum(int(s.get(key, "0")) for s in suites)) for key in keys}


@dataclass(frozen=True)
class TestCase:
    """A test case with its findings.

    `count` is None if not applicable, and 0 if no rank reported it.
    """

    name: str
    count: int | None
    findings: tuple[Finding, ...]
    text: str = ""


def test_case_of(finding: Finding) -> str:
    """The name of the test case of a finding."""
    if finding.kind in _GROUPS:
        return _GROUPS[finding.kind]
    for prefix, group in _PREFIXES.items():
        if finding.kind.startswith(prefix):
            return group
    is_version = finding.kind.endswith("-differs")
    return _SOFTWARE if is_version else _ENDS


def test_cases(verdict: StepVerdict) -> list[TestCase]:
    """All test cases of a verdict; bandwidth per collective, pairs per node."""
    found: list[TestCase] = [
        _of_phase(verdict, _PROCESSES, "connected"),
        _of_phase(verdict, _DEVICES, "devices"),
        _of_phase(verdict, _SOFTWARE, "connected"),
        _of_phase(verdict, _SUM, "allreduce"),
        _of_phase(verdict, _IDENTITY, "identity"),
        _of_phase(verdict, _ENDS, "done"),
    ]
    found += _transport(verdict)
    found += _bandwidths(verdict)
    return [*found, *_pairs(verdict, verdict.pairs or NodePairs())]


def _of_phase(verdict: StepVerdict, name: str, phase: str) -> TestCase:
    count = sum(phase in rank.phases for rank in verdict.ranks)
    text = f"{count} of {verdict.topology.processes} ranks reported it"
    return TestCase(name, count, _findings(verdict, name), text)


def _findings(verdict: StepVerdict, group: str) -> tuple[Finding, ...]:
    return tuple(f for f in verdict.findings if test_case_of(f) == group)


def _transport(verdict: StepVerdict) -> Iterator[TestCase]:
    lines = {
        f"{rank.node}: {record.summary}"
        for rank, record in verdict.measured(TransportRecord)
    }
    findings = _findings(verdict, _TRANSPORT)
    if lines or findings:
        yield TestCase(_TRANSPORT, len(lines), findings, "\n".join(sorted(lines)))


def _bandwidths(verdict: StepVerdict) -> Iterator[TestCase]:
    """One case per collective, and one for findings without a collective."""
    rest = list(_findings(verdict, _BANDWIDTH))
    for point in headlines(verdict.bandwidth):
        title = f"{point.collective} {point.dtype}"
        own = [f for f in rest if point.collective in f.text]
        rest = [f for f in rest if f not in own]
        text = (
            f"{format_gb_per_s(point.bus_gb_per_s)} bus bandwidth at"
            f" {format_size(point.size_bytes)}, {point.wrong} wrong elements"
        )
        yield TestCase(f"bandwidth {title}", point.ranks, tuple(own), text)
    if rest:
        yield TestCase(_BANDWIDTH, None, tuple(rest))


def _pairs(verdict: StepVerdict, pairs: NodePairs) -> Iterator[TestCase]:
    """One case per node with the findings on its ranks, and one for the rest."""
    findings = _findings(verdict, _PAIRS)
    node_of = {rank.rank: rank.node for rank in verdict.ranks}
    placed: set[Finding] = set()
    for node in (node.node for node in pairs.nodes):
        own = tuple(f for f in findings if node in {node_of.get(r) for r in f.ranks})
        placed |= set(own)
        of_node = pairs.of_node(node)
        slowest = of_node[0]
        speed = slowest.gb_per_s
        text = (
            f"{plural(len(of_node), 'pair')}, the slowest {slowest.name}:"
            f" {'timed out' if speed is None else format_gb_per_s(speed)}"
        )
        yield TestCase(f"pairs of {node}", len(of_node), own, text)
    if rest := tuple(f for f in findings if f not in placed):
        yield TestCase(_PAIRS, None, rest)
