"""The JSON of verdicts: its schema holds for real ones, and what is wrong with another is named."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
import reported
from checkout import TESTS
from jsonschema import Draft202012Validator
from sample_records import healthy, records

from jaxsif.core.errors import UsageError
from jaxsif.core.history import JobState
from jaxsif.core.topology import parse_topology
from jaxsif.report import document
from jaxsif.report.measured import Bandwidth, told
from jaxsif.verdict import render
from jaxsif.verdict.verdict import judge

REAL = sorted((TESTS / "verdicts").glob("*.json"))
SCHEMA = json.loads(document.SCHEMA_FILE.read_text())
VALIDATOR = Draft202012Validator(SCHEMA)

MADE = {
    "a pass": reported.passed,
    "a failure": reported.failed,
    "a missing rank": reported.missing,
    "silence": reported.silent,
}


def problems(content: dict[str, Any]) -> list[str]:
    return [e.json_path + ": " + e.message for e in VALIDATOR.iter_errors(content)]


def parsed(content: object) -> tuple[document.Verdict, ...]:
    return document.parse(json.dumps(content).encode(), "job.json")


def test_the_schema_is_one_itself():
    Draft202012Validator.check_schema(SCHEMA)


def test_judge_and_report_speak_of_the_same_schema():
    assert render.SCHEMA == document.SCHEMA == SCHEMA["title"]
    assert document.SCHEMA == SCHEMA["properties"]["schema"]["const"]


@pytest.mark.parametrize("name", MADE)
def test_the_schema_holds_for_what_the_judge_writes(name):
    assert [] == problems(MADE[name]())


@pytest.mark.parametrize("path", REAL, ids=lambda path: path.stem)
def test_the_schema_holds_for_verdicts_of_real_jobs(path):
    content = json.loads(path.read_text())

    assert [] == problems(content)
    assert parsed(content)[0].verdict == "PASS"


def test_there_are_verdicts_of_real_jobs():
    assert REAL


def _judged(spoil) -> dict[str, Any]:
    job = healthy()
    spoil(job)
    job_state = JobState()
    for record in records(job):
        job_state.add(record)
    return reported.document(*map(render.as_json, judge(job_state, reported.G8N2P8)))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda job: job.pop(5),
        lambda job: job[3]["allreduce"].update(got=7.0, wrong=1),
        lambda job: job[2]["devices"].update(backend="cpu"),
        lambda job: job[1].update(failed={**job[1].pop("done"), "phase": "failed"}),
        lambda job: job[4]["connected"].update(jax="2.0"),
        lambda job: [told.pop("identity") for told in job.values()],
    ],
)
def test_the_schema_holds_for_every_kind_of_failure(spoil):
    content = _judged(spoil)

    assert [] == problems(content)
    assert parsed(content)[0].verdict != "PASS"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["verdicts", 0, "status"], 2),
        (["verdicts", 0, "verdict"], "OK"),
        (["verdicts", 0, "findings"], {}),
        (["verdicts", 0, "topology", "nodes"], "2"),
        (["verdicts", 0, "ranks", 0, "rank"], "0"),
        (["verdicts", 0, "ranks", 0, "told"], []),
        (["verdicts", 0, "ranks", 0, "measured"], [1]),
        (["verdicts", 0, "bandwidth", 0, "ratio"], "good"),
        (["verdicts", 0, "pairs", "median_gb_per_s"], "fast"),
    ],
)
def test_schema_and_reader_refuse_the_same(path, value):
    content = reported.passed()
    place: Any = content
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value

    assert problems(content)
    with pytest.raises(UsageError, match=r"^'job.json' is no verdict of jax-sif"):
        parsed(content)


def test_a_wrong_field_is_named_by_its_place():
    content = reported.passed()
    content["verdicts"][0]["ranks"][3]["rank"] = "three"

    with pytest.raises(UsageError, match=r"`int`.*\$\.verdicts\[0\]\.ranks\[3\]\.rank"):
        parsed(content)


def test_fields_of_a_later_jax_sif_are_no_error():
    content = reported.passed()
    content["weather"] = content["verdicts"][0]["weather"] = "fine"

    assert [] == problems(content)
    assert "PASS" == parsed(content)[0].verdict


def test_a_verdict_without_what_was_added_later_is_read():
    content = copy.deepcopy(reported.passed())
    verdict = content["verdicts"][0]
    del verdict["expected"], verdict["bandwidth"], verdict["pairs"]
    for rank in verdict["ranks"]:
        del rank["measured"]
    for finding in verdict["findings"]:
        del finding["is_failure"]

    assert [] == problems(content)
    assert parsed(content)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (b"", "'job.json' is not JSON"),
        (b"rank 0 speaks\n", "'job.json' is not JSON.*not the job's output"),
        (b"\xff\xfe", "'job.json' is not JSON"),
        (b'{"schema": "jax-sif/verdict/1"', "'job.json' is not JSON"),
        (b"[1]", "'job.json' is no verdict of jax-sif"),
        (b"{}", "has the schema None, expected 'jax-sif/verdict/1'"),
        (
            b'{"schema": "jax-sif/bench/1"}',
            "has the schema 'jax-sif/bench/1', expected",
        ),
        (
            b'{"schema": "jax-sif/verdict/2", "verdicts": 5}',
            "'jax-sif/verdict/2', and this jax-sif reads 'jax-sif/verdict/1'.*"
            r"singularity exec \$JAX_IMAGE jax-sif report",
        ),
        (b'{"schema": "jax-sif/verdict/1"}', "missing required field `verdicts`"),
    ],
)
def test_what_is_no_verdict_is_refused_with_what_to_give(text, complaint):
    with pytest.raises(UsageError, match=complaint):
        document.parse(text, "job.json")


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(
        UsageError, match=r"cannot read the verdict '.*none.json': No such"
    ):
        document.read(tmp_path / "none.json")


def test_a_spoiled_measurement_is_named_with_its_rank():
    content = reported.passed()
    ranks = content["verdicts"][0]["ranks"]
    place = next(m for m in ranks[5]["measured"] if m["phase"] == "bandwidth")
    place["times_us"] = "fast"
    verdict = parsed(content)[0]

    assert problems(content)
    with pytest.raises(
        UsageError, match=r"a bandwidth record of rank 5 on node2 .*times"
    ):
        list(told(verdict, "bandwidth", Bandwidth))


def test_a_topology_of_one_is_read():
    topology = parse_topology("G1N1p1")

    assert [] == problems(reported.passed(topology))
