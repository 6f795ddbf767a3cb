"""A job's verdict as a file, and the report that the image makes of it, on a real Slurm."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json

import pytest
from jsonschema import Draft202012Validator

from jaxsif.core.verdict_file import json_schema, parse
from jaxsif.report.data import LABELS, timelines

READY = 'cd; module use "$1/modulefiles"; module load "$2"; '
FILE = "report-test.json"


@pytest.fixture(scope="module")
def content(cluster) -> bytes:
    """What the job wrote in its user's home."""
    job = cluster.submit("allreduce", JAX_SIF_VERDICT_FILE=FILE)
    assert 0 == job.status, job.output
    done = cluster.bash(f"cd; cat {FILE}")
    return done.stdout.encode()


def test_the_schema_holds_for_a_job_of_this_cluster(content):
    validator = Draft202012Validator(json_schema())

    assert [] == [error.message for error in validator.iter_errors(json.loads(content))]


def test_ranks_in_the_image_report_the_times_of_their_start(content):
    (verdict,) = parse(content, FILE)

    lines = timelines(verdict)
    labels = {interval.label for line in lines for interval in line.intervals}
    assert set(LABELS.values()) == labels
    started = [rank.started for rank in verdict.ranks if rank.started]
    entered_s = [record.entry_start - record.process_start for record in started]
    assert len(entered_s) == 8
    assert all(-0.02 <= seconds < 30 for seconds in entered_s)


def test_the_image_makes_a_page_with_charts_without_a_network(cluster, content):
    done = cluster.bash(
        f"{READY}jax-sif report {FILE} && head -c 400 report-test.html"
        " && grep -c 'plotly.js v' report-test.html",
        str(cluster.checkout),
        cluster.module,
    )

    assert 0 == done.returncode, done.stderr
    assert "PASS  G8N2p8: 8 processes on 2 nodes" in done.stdout
    assert "<!DOCTYPE html>" in done.stdout
    assert "no charts" not in done.stderr
    assert done.stdout.splitlines()[-1] != "0"
