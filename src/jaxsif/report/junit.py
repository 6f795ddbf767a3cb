"""Verdicts as JUnit XML, for GitLab, Jenkins and ReFrame."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timezone
from xml.etree import ElementTree as ET

from jaxsif.core.errors import COULD_NOT_TELL, FAIL
from jaxsif.core.evidence import Finding
from jaxsif.core.text import MAX_NODES_IN_REPORT, format_ranks_and_nodes
from jaxsif.core.verdict_file import StepVerdict
from jaxsif.html.markup import escape_invisible
from jaxsif.report.groups import TestCase, test_cases

# The case that every verdict has.
_VERDICT = "verdict"


def as_junit(verdicts: Iterable[StepVerdict]) -> str:
    """A suite for each verdict, with a case for each check.

    A finding is a failure, an uncertain one an error, and a check without records is
    skipped. The case `verdict` is the result of jax-sif verify, so that skipped cases
    are not taken for a pass.
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
    suite.extend(cases)
    return suite


def _case(group: TestCase, verdict: StepVerdict) -> ET.Element:
    case = _named(group.name, verdict)
    wrong = [f for f in group.findings if not f.is_warning]
    if wrong:
        kind = "failure" if any(f.is_failure for f in wrong) else "error"
        _add_failure(case, kind, wrong, verdict)
    elif group.count == 0:
        ET.SubElement(case, "skipped", message="no rank reported it")
    warnings = [f for f in group.findings if f.is_warning]
    lines = [group.text, *(f"warning: {_words(f, verdict)}" for f in warnings)]
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
    problem.text = escape_invisible("\n\n".join(_words(f, verdict) for f in findings))


def _words(finding: Finding, verdict: StepVerdict) -> str:
    named = format_ranks_and_nodes(
        ((rank, verdict.named_ranks[rank]) for rank in finding.ranks),
        MAX_NODES_IN_REPORT,
    )
    who = f"\nnames: {named}" if named else ""
    return f"{finding.text}\n-> {finding.remedy}{who}"


def _named(name: str, verdict: StepVerdict) -> ET.Element:
    classname = f"jax-sif.{verdict.topology.label}"
    return ET.Element(
        "testcase", name=escape_invisible(name), classname=escape_invisible(classname)
    )


def _length_s(verdict: StepVerdict) -> float:
    """The time from the first to the last record of a node; the longest of all nodes."""
    times: dict[str, list[float]] = {}
    for rank in verdict.ranks:
        times.setdefault(rank.node, []).extend(rank.times_s.values())
    return max((max(t) - min(t) for t in times.values() if t), default=0.0)


def _totals(suites: Iterable[ET.Element]) -> dict[str, str]:
    keys = ("tests", "failures", "errors", "skipped")
    return {key: str(sum(int(s.get(key, "0")) for s in suites)) for key in keys}
