"""`jax-sif report` as a whole process: files, text, exit statuses, bad input."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import reported
from checkout import SRC


def report(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "jaxsif", "report", *map(str, arguments)],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(SRC), **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture
def failed(tmp_path: Path) -> Path:
    path = tmp_path / "job.json"
    path.write_text(json.dumps(reported.failed()))
    return path


def test_a_page_is_written_beside_the_verdict(failed):
    done = report(failed)

    page = failed.with_name("job.html")
    assert 0 == done.returncode, done.stderr
    assert done.stdout.startswith("FAIL  G8N2p8: ")
    assert f"jax-sif: wrote {page}\n" == done.stderr
    assert page.read_text().startswith("<!DOCTYPE html>")
    assert ["job.html", "job.json"] == sorted(p.name for p in failed.parent.iterdir())


def test_a_file_is_for_everyone_who_may_read_there(failed):
    report(failed)

    mode = failed.with_name("job.html").stat().st_mode
    assert 0o644 == stat.S_IMODE(mode)


def test_all_formats_are_written_at_once_and_nothing_else(failed):
    folder = failed.parent
    done = report(
        failed,
        *("--html", folder / "a.html", "--junit", folder / "a.xml"),
        *("--csv", folder / "a.csv", "--prometheus", folder / "a.prom"),
    )

    assert 0 == done.returncode, done.stderr
    names = {path.name for path in folder.iterdir()}
    assert {"job.json", "a.html", "a.xml", "a.csv", "a.prom"} == names
    assert b"\r\n" in (folder / "a.csv").read_bytes()
    assert b"\r" not in (folder / "a.prom").read_bytes()


def test_text_alone_writes_no_file(failed):
    done = report(failed, "--text")

    assert 0 == done.returncode
    assert ["job.json"] == [path.name for path in failed.parent.iterdir()]


def test_several_verdicts_become_one_page(failed):
    other = failed.with_name("other.json")
    other.write_text(json.dumps(reported.passed()))

    done = report(failed, other)

    assert 0 == done.returncode
    assert "\nPASS  G8N2p8: " in done.stdout
    assert "2 verdicts" in failed.with_name("job.html").read_text()
    assert not failed.with_name("other.html").exists()


def test_a_newer_schema_is_a_wrong_usage_with_the_way_out(tmp_path):
    path = tmp_path / "job.json"
    path.write_text('{"schema": "jax-sif/verdict/9", "verdicts": []}')

    done = report(path)

    assert 2 == done.returncode
    assert 1 == done.stderr.count("\n")
    assert "'jax-sif/verdict/9'" in done.stderr
    assert "singularity exec $JAX_IMAGE jax-sif report" in done.stderr


def test_a_jobs_output_is_no_verdict(tmp_path):
    path = tmp_path / "slurm-7.out"
    path.write_text("Process 0 has y=[8.]\n")

    done = report(path)

    assert 2 == done.returncode
    assert "is not JSON" in done.stderr and "Traceback" not in done.stderr


def test_no_verdict_at_all_could_not_tell(tmp_path):
    path = tmp_path / "job.json"
    path.write_text('{"schema": "jax-sif/verdict/1", "verdicts": []}')

    done = report(path)

    assert 3 == done.returncode
    assert not path.with_suffix(".html").exists()


def test_a_spoiled_record_leaves_no_half_result(failed):
    content = json.loads(failed.read_text())
    content["verdicts"][0]["ranks"][0]["measurements"][0]["nics"] = 4
    failed.write_text(json.dumps(content))

    done = report(
        failed, "--csv", failed.with_name("a.csv"), "--html", failed.with_name("a.html")
    )

    assert 2 == done.returncode
    assert "ranks[0].measurements[0].nics" in done.stderr
    assert ["job.json"] == [path.name for path in failed.parent.iterdir()]


def test_a_folder_that_is_not_there_is_named_and_the_text_stands(failed):
    done = report(failed, "--csv", failed.parent / "none/a.csv")

    assert 1 == done.returncode
    assert done.stdout.startswith("FAIL  ")
    assert "cannot write" in done.stderr and "No such file" in done.stderr


def test_what_cannot_be_replaced_leaves_no_rubbish(failed):
    (failed.parent / "a.csv").mkdir()

    done = report(failed, "--csv", failed.parent / "a.csv")

    assert 1 == done.returncode
    assert {"job.json", "a.csv"} == {path.name for path in failed.parent.iterdir()}


def test_the_report_needs_neither_jax_nor_the_judge(failed):
    program = (
        "import sys; from jaxsif.cli import main; main(sys.argv[1:]);"
        " print([m for m in sys.modules if m.split('.')[0] in ('jax', 'numpy',"
        " 'plotly') or m.startswith('jaxsif.verdict')], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "report", failed],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(SRC)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert "[]" == done.stderr.splitlines()[-1]
