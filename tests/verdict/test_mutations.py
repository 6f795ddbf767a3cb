"""No verdict claims what a record of another version did not report."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, get_args

import pytest
from sample_records import G8N2P8, Fields, Job, all_fields, fields_of, healthy, samples

from jaxsif.core.errors import COULD_NOT_TELL, FAIL, PASS
from jaxsif.core.history import JobState
from jaxsif.core.record_lines import encode_fields
from jaxsif.core.records import Record
from jaxsif.verdict.stream import Stream
from jaxsif.verdict.verdict import Verdict, judge

# Not required: it is there only if a list was shortened, and no check reads it.
OPTIONAL = {"left_out"}


def verdict_on(lines: Iterable[bytes]) -> Verdict:
    job_state = JobState()
    stream = Stream(job_state.add, job_state.add_line)
    for line in lines:
        stream.feed(line)
    stream.close()
    (verdict,) = judge(job_state, G8N2P8, stream.damaged, mismatched=stream.mismatched)
    return verdict


# Reports that end a rank; a healthy job has none of them.
ENDS = ("failed", "deadline_exceeded", "terminated")


def job_with_every_record() -> Job:
    """A healthy job in which every rank has reported every kind of record."""
    job = healthy()
    for rank, phases in job.items():
        for phase, record in samples(rank).items():
            if phase not in ENDS:
                phases.setdefault(phase, fields_of(record))
        # Nothing is expected of hardware that is not known.
        phases["fabric"] |= {
            "gpu": None,
            "gpus": 0,
            "nvlink_gb_per_s": None,
            "nics": [],
        }
    return job


def line_of(fields: Fields) -> bytes:
    return encode_fields(fields).encode()


HEALTHY = job_with_every_record()
LINES = {
    (rank, phase): line_of(fields)
    for rank, phases in HEALTHY.items()
    for phase, fields in phases.items()
}


def _removed(fields: Fields, name: str) -> None:
    del fields[name]


def _renamed(fields: Fields, name: str) -> None:
    fields[f"{name}_2"] = fields.pop(name)


def _retyped(fields: Fields, name: str) -> None:
    # No field is a list of lists of objects.
    fields[name] = [[{"value": fields[name]}]]


MUTATIONS: tuple[Callable[[Fields, str], None], ...] = (_removed, _renamed, _retyped)


def every_field() -> Iterator[tuple[str, str]]:
    for kind in get_args(Record):
        for name in ("phase", *kind.__struct_fields__):
            if name not in OPTIONAL:
                yield kind.phase, name


def test_a_job_with_every_kind_of_record_passes():
    assert verdict_on(LINES.values()).status == PASS


@pytest.mark.parametrize("ranks", [range(8), [5]], ids=["all-ranks", "one-rank"])
@pytest.mark.parametrize("mutation", MUTATIONS)
@pytest.mark.parametrize(("phase", "name"), list(every_field()))
def test_a_changed_field_of_any_record_is_never_a_pass(phase, name, mutation, ranks):
    changed = {}
    for rank in ranks:
        fields = fields_of(samples(rank)[phase])
        mutation(fields, name)
        changed[rank, phase] = line_of(fields)

    verdict = verdict_on({**LINES, **changed}.values())

    assert verdict.status in (FAIL, COULD_NOT_TELL)
    assert "corrupt-records" in {f.kind for f in verdict.findings}


def _set(phase: str, rename: dict[str, str], **values: Any) -> Callable[[Job], None]:
    def change(job: Job) -> None:
        for phases in job.values():
            phases[phase] |= values
            for old, new in rename.items():
                value = phases[phase].pop(old)
                if new:
                    phases[phase][new] = value

    return change


SEVEN = {
    "identity without its facts": [
        _set("identity", {"foreign_count": "", "foreign_slots": ""})
    ],
    "foreign contributions by another name": [
        _set("identity", {"foreign_count": "foreign"}, foreign_count=3)
    ],
    "a wrong sum by another name": [_set("allreduce", {"sum": "got"}, sum=9.0)],
    "a wrong group by another name": [
        _set("connected", {"process_count": "processes"}, process_count=3)
    ],
    "the CPU by another name": [
        _set("devices", {"backend": "platform"}, backend="cpu")
    ],
    "devices without a list": [_set("devices", {"local_devices": ""})],
    "devices without a total": [_set("devices", {"total": ""})],
}
SEVEN["four of them together"] = [
    SEVEN[name][0]
    for name in (
        "foreign contributions by another name",
        "a wrong sum by another name",
        "the CPU by another name",
        "a wrong group by another name",
    )
]


@pytest.mark.parametrize("changes", SEVEN.values(), ids=SEVEN)
def test_records_without_the_facts_that_are_judged_are_never_a_pass(changes):
    job = healthy()
    for change in changes:
        change(job)

    assert verdict_on(map(line_of, all_fields(job))).status in (FAIL, COULD_NOT_TELL)
