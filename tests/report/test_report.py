"""Reports: text for people and JSON for programs, from the same values."""
# SPDX-License-Identifier: Apache-2.0

import json

import reported
from reported import as_json
from sample_records import G8N2P8, healthy, records, typed

from jaxsif.core.history import JobState
from jaxsif.core.topology import parse_topology
from jaxsif.verdict import render
from jaxsif.verdict.verdict import judge


def _verdict(job, topology=G8N2P8):
    job_state = JobState()
    for record in records(job):
        job_state.add(record)
    return judge(job_state, topology)[0]


def test_a_pass_ends_with_one_line_that_says_what_it_rests_on():
    *table, last = render.text(_verdict(healthy())).splitlines()

    assert len(table) == 9
    assert table[0] == "rank  node   local devices  last phase"
    assert table[6] == "5     node2  1: GPU-5       done"
    assert (
        last == "PASS  G8N2p8: 8 processes on 2 nodes (node1, node2), 8 gpu devices,"
        " every rank verified its peers, 3.0 s"
    )


def test_a_failure_ends_with_its_first_cause():
    job = healthy()
    del job[5]

    *_, finding, remedy, last = render.text(_verdict(job)).splitlines()

    assert last == "FAIL  G8N2p8: 1 of 8 ranks never reported: rank 5 on node2"
    assert finding.startswith("1. 1 of 8 ranks never reported")
    assert remedy.startswith("   -> ")


def test_a_big_job_shows_only_the_ranks_that_need_a_look():
    topology = parse_topology("G1024N128p1024")
    job = healthy(topology)
    del job[1000]["done"], job[1000]["identity"]

    lines = render.text(_verdict(job, topology)).splitlines()

    assert lines[1].startswith("1000  node126")
    assert lines[2] == "... and 1,023 more ranks"


def test_text_and_json_say_the_same():
    job = healthy()
    job[3]["allreduce"].update(sum=7.0, wrong_elements=1)
    verdict = _verdict(job)

    values = json.loads(json.dumps(as_json(verdict)))

    assert (values["status"], values["verdict"]) == (1, "FAIL")
    assert values["summary"] in render.text(verdict)
    assert values["findings"][0]["ranks"] == [3]
    assert len(values["ranks"]) == 8


def test_programs_learn_what_was_expected_and_whose_word_that_is():
    job_state = JobState()
    for record in records(healthy()):
        job_state.add(record)
    for rank in reported.passed()["verdicts"][0]["ranks"]:
        for record in rank["measurements"]:
            job_state.add(typed({**record, "step": "box.7.0.0"}))

    (values,) = [as_json(verdict) for verdict in judge(job_state, G8N2P8)]

    expected = {(e["collective"], e["dtype"]): e for e in values["expected"]}
    assert expected["all-reduce", "f32"]["bus_gb_per_s"] > 0
    assert expected["all-reduce", "f32"]["source"]
