"""Warnings: all is right, and something could be better; a pass, but for those who are strict."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest
from reported import as_json
from sample_records import G8N2P8, healthy, records

from jaxsif.core.evidence import Finding
from jaxsif.core.history import JobState
from jaxsif.verdict import checks, render
from jaxsif.verdict.verdict import judge

WARNING = Finding("slow", "the network is slow", "look at it", is_warning=True)
FAILURE = Finding("wrong", "the sum is wrong", "do not trust it")


@pytest.fixture
def verdict(monkeypatch):
    def verdict(*findings: Finding, job=None, is_strict: bool = False):
        monkeypatch.setattr(checks, "CHECKS", (lambda case: iter(findings),))
        job_state = JobState()
        for record in records(job or healthy()):
            job_state.add(record)
        (judged,) = judge(job_state, G8N2P8, is_strict=is_strict)
        return judged

    return verdict


@pytest.mark.parametrize(("is_strict", "status"), [(False, 0), (True, 1)])
def test_a_warning_alone_fails_only_the_strict(verdict, is_strict, status):
    assert status == verdict(WARNING, is_strict=is_strict).status


def test_a_warning_hides_no_failure(verdict):
    assert 1 == verdict(WARNING, FAILURE).status


def test_a_warning_does_not_make_a_silent_rank_well(verdict):
    job = healthy()
    del job[5]["done"]

    assert 1 == verdict(WARNING, job=job).status


def test_a_pass_with_a_warning_shows_it_and_says_so(verdict):
    text = render.text(verdict(WARNING))

    assert "1. warning: the network is slow\n   -> look at it\n" in text
    assert text.splitlines()[-1].startswith(
        "PASS  G8N2p8: 1 warning above, 8 processes"
    )


def test_the_json_marks_findings_that_are_warnings(verdict):
    findings = as_json(verdict(WARNING, FAILURE))["findings"]

    assert [True, False] == [finding["is_warning"] for finding in findings]
