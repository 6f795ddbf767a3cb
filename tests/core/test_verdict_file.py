"""The verdict file: its schema is that of the types and holds for real ones."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
from typing import Any

import pytest
import reported
import verdict_schema
from checkout import TESTS
from jsonschema import Draft202012Validator
from reported import as_json
from sample_records import healthy, make_record, records

from jaxsif.core import verdict_file
from jaxsif.core.errors import UsageError
from jaxsif.core.history import JobState
from jaxsif.core.topology import parse_topology
from jaxsif.verdict.verdict import judge

REAL = sorted((TESTS / "verdicts").glob("*.json"))
SCHEMA = json.loads(verdict_schema.SCHEMA.read_text())
VALIDATOR = Draft202012Validator(SCHEMA)

MADE = {
    "a pass": reported.passed,
    "a failure": reported.failed,
    "a missing rank": reported.missing,
    "silence": reported.silent,
}


def problems(content: dict[str, Any]) -> list[str]:
    return [e.json_path + ": " + e.message for e in VALIDATOR.iter_errors(content)]


def parsed(content: object) -> tuple[verdict_file.StepVerdict, ...]:
    return verdict_file.parse(json.dumps(content).encode(), "job.json")


def test_the_schema_is_one_itself():
    Draft202012Validator.check_schema(SCHEMA)


def test_the_schema_and_the_table_of_records_are_those_of_the_types():
    page = verdict_schema.PAGE.read_text()

    assert verdict_schema.SCHEMA.read_text() == verdict_schema.schema(), (
        verdict_schema.COMMAND
    )
    assert verdict_schema.ATTEMPTS.read_text() == verdict_schema.attempts_schema(), (
        verdict_schema.COMMAND
    )
    assert page == verdict_schema.renewed(page), verdict_schema.COMMAND
    assert "`foreign_slots`" in page


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
    return reported.document(*map(as_json, judge(job_state, reported.G8N2P8)))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda job: job.pop(5),
        lambda job: job[3]["allreduce"].update(sum=7.0, wrong_elements=1),
        lambda job: job[2]["devices"].update(backend="cpu"),
        lambda job: job[1].update(
            failed=make_record(1, "failed", error="ValueError: x")
        ),
        lambda job: job[4]["connected"].update(jax="2.0"),
        lambda job: [phases.pop("identity") for phases in job.values()],
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
        (["verdicts", 0, "ranks", 0, "phases"], []),
        (["verdicts", 0, "ranks", 0, "measurements"], [1]),
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


@pytest.mark.parametrize("field", ["expected", "bandwidth", "pairs", "ranks"])
def test_a_verdict_without_a_field_is_refused(field):
    content = reported.passed()
    del content["verdicts"][0][field]

    assert problems(content)
    with pytest.raises(UsageError, match=f"missing required field `{field}`"):
        parsed(content)


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
        verdict_file.parse(text, "job.json")


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(
        UsageError, match=r"cannot read the verdict '.*none.json': No such"
    ):
        verdict_file.read(tmp_path / "none.json")


def test_a_spoiled_measurement_is_named_by_its_place():
    content = reported.passed()
    ranks = content["verdicts"][0]["ranks"]
    record = next(m for m in ranks[5]["measurements"] if m["phase"] == "bandwidth")
    record["times_us"] = "fast"

    assert problems(content)
    with pytest.raises(UsageError, match=r"ranks\[5\]\.measurements\[\d+\]\.times_us"):
        parsed(content)


def test_a_topology_of_one_is_read():
    topology = parse_topology("G1N1p1")

    assert [] == problems(reported.passed(topology))
