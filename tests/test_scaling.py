"""`jax-sif scale`: what it writes, what it makes of the verdicts, and what it refuses."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest
from stories import healthy, records, tell

from jaxsif import cli
from jaxsif.contract.errors import UsageError
from jaxsif.contract.topology import parse_topology
from jaxsif.judge import report
from jaxsif.judge.board import Board
from jaxsif.judge.verdict import judge
from jaxsif.scaling import figure, plan, results, table
from jaxsif.scaling.plan import Study

BIN = Path(__file__).parent.parent / "bin"
STRONG = Study(("train.py",), (1, 2, 4))
WEAK = Study(("train.py", "--batch", "64"), (1, 2, 4), ("batch",))


def verdict(label: str, **speed) -> dict:
    """A healthy job's, as `jax-sif verify --json` writes it."""
    job = healthy(parse_topology(label))
    if speed:
        job[0]["speed"] = tell(0, "speed", **speed)
    for told in job.values():
        told["connected"]["time"] = 100.0
        told["done"]["time"] = 110.0
    board = Board()
    for record in records(job):
        board.add(record)
    return report.as_json(judge(board, parse_topology(label))[0])


def runs(*speeds: float | None, unit: str = "samples") -> list[results.Run]:
    return [
        results.Run(2**i, 2**i, per_s, unit, "no verdict")
        for i, per_s in enumerate(speeds)
    ]


def test_the_program_s_own_word_on_its_speed_counts():
    told = verdict("G8N2p8", items=300.0, seconds=2.0, unit="pictures")

    run = results.run_of(2, told)

    assert results.Run(2, 8, 150.0, "pictures", "") == run


def test_without_it_whole_runs_are_compared():
    run = results.run_of(2, verdict("G8N2p8"))

    assert (0.1, results.WALL) == (run.per_s, run.unit)


def test_a_job_that_failed_has_no_speed_and_says_why():
    told = verdict("G8N2p8", items=300.0, seconds=2.0, unit="pictures")
    told |= {"status": 1, "verdict": "FAIL", "summary": "G8N2p8: rank 3 is dead"}

    run = results.run_of(2, told)

    assert (None, "FAIL: rank 3 is dead") == (run.per_s, run.said)


def test_twice_the_speed_on_twice_the_nodes_is_ideal():
    rows = results.compare(STRONG, runs(10, 20, 30))

    assert [1, 2, 3] == [row.speed_up for row in rows]
    assert [1, 1, 0.75] == [row.efficiency for row in rows]
    assert [True, True, False] == [row.is_good for row in rows]


def test_the_same_number_of_steps_in_a_weak_study_is_ideal_for_more_is_done():
    rows = results.compare(WEAK, runs(10, 10, 9, unit="steps"))

    assert [1, 1, 0.9] == [row.efficiency for row in rows]


def test_samples_count_the_same_in_a_weak_study():
    rows = results.compare(WEAK, runs(10, 20, 40))

    assert [1, 1, 1] == [row.efficiency for row in rows]


def test_the_fewest_nodes_that_have_a_speed_are_what_others_are_compared_with():
    rows = results.compare(STRONG, runs(None, 20, 40))

    assert [None, 1, 2] == [row.speed_up for row in rows]


def test_another_unit_is_not_compared():
    first, second = runs(10)[0], runs(10, 20, unit="steps")[1]

    rows = results.compare(STRONG, [first, second])

    assert None is rows[1].speed_up


@pytest.mark.parametrize(
    ("nodes", "good"), [(1, 0.8), (8, 0.8), (9, 0.6), (16, 0.6), (32, 0.4), (33, None)]
)
def test_more_nodes_may_be_less_efficient(nodes, good):
    run = results.Run(nodes, nodes, 1.0, "samples", "")

    assert good == results.compare(STRONG, [run])[0].good


def test_the_table_shows_speeds_marks_and_what_is_missing():
    rows = results.compare(STRONG, runs(1234.5, 2345, None))

    assert """\
train, strong scaling: the same work on more nodes
nodes  devices  samples/s  speed-up  ideal  efficiency
    1        1      1,234      1.00   1.00        100%
    2        2      2,345      1.90   2.00         95%  good, by 80%
    4        4          -         -   4.00           -
4 nodes: no verdict
""" == table.text(STRONG, rows)


def test_the_drawing_is_one_file_that_says_what_it_shows():
    drawing = figure.svg(STRONG, results.compare(STRONG, runs(10, 19, 30)))

    root = ElementTree.fromstring(drawing)
    assert root.get("aria-label").endswith("1 nodes 100%, 2 nodes 95%, 4 nodes 75%")
    words = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"ideal", "good: 80%", "1.90", "95%", "75%"} <= set(words)
    assert "http" not in drawing.replace("http://www.w3.org/2000/svg", "")


def test_a_program_s_name_cannot_leave_its_place_in_the_drawing():
    study = Study(('<script>&".py',), (1, 2))

    drawing = figure.svg(study, results.compare(study, runs(10, 19)))

    assert "<script>" not in drawing
    ElementTree.fromstring(drawing)


def test_one_point_is_no_line():
    assert None is figure.svg(STRONG, results.compare(STRONG, runs(10, None, None)))


def test_the_number_behind_an_option_grows():
    words = ["train.py", "--batch", "64", "--width=8"]

    assert ["train.py", "--batch", "256", "--width=32"] == plan.grown(
        words, ["batch", "--width"], 4
    )


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["train.py"], "is no option"),
        (["train.py", "--batch"], "is no option"),
        (["train.py", "--batch", "many"], "--batch is 'many', expected a whole number"),
        (["train.py", "--batch=0"], "--batch is '0', expected a whole number"),
    ],
)
def test_what_cannot_grow_is_refused(words, complaint):
    with pytest.raises(UsageError, match=complaint):
        plan.grown(words, ["batch"], 2)


@pytest.mark.parametrize(
    "text", ["", "1", "2,2", "0,1", "1,-2", "1,2,", "a,b", "\uff11,2"]
)
def test_what_is_no_series_is_refused(text):
    with pytest.raises(UsageError, match="--nodes is"):
        plan.node_counts(text)


def test_nodes_come_in_rising_order():
    assert (1, 2, 8) == plan.node_counts("8,1,2")


def test_work_can_grow_only_by_whole_numbers():
    with pytest.raises(UsageError, match="3 nodes are no multiple of 2"):
        plan.check(Study(("a.py",), (2, 3), ("batch",)))


def scale(*words: str) -> int:
    return cli.main(["scale", *words])


def test_scripts_keep_the_shape_of_a_node(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    status = scale("plan", "G8N1p4", "--nodes", "1,4", "--weak=batch", *WEAK.program)

    assert 0 == status
    assert "scale-train in 1 4\n" == capsys.readouterr().out
    script = (tmp_path / "scale-train/4.slurm").read_text()
    assert "JAX_SIF_TOPOLOGY:-G32N4p16}" in script
    assert "--job-name=train-4\n" in script
    assert "python train.py --batch 256 |&\n" in script
    assert "jax-sif verify --program --json scale-train/4.json\n" in script
    assert WEAK == Study(("train.py", "--batch", "64"), (1, 2, 4), ("batch",))


def test_results_of_an_earlier_study_do_not_count(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    scale("plan", "G1N1p1", "--nodes", "1,2", "train.py")
    (tmp_path / "scale-train/1.json").write_text("{}")

    scale("plan", "G1N1p1", "--nodes", "1,2", "train.py")
    status = scale("show", "scale-train")

    assert 3 == status
    assert "1 nodes: no verdict" in capsys.readouterr().out


def test_a_study_is_shown_from_its_verdicts(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    scale("plan", "G4N1p4", "--nodes", "1,2", "train.py")
    for nodes, seconds in ((1, 4.0), (2, 2.5)):
        facts = {"items": 100.0, "seconds": seconds, "unit": "samples"}
        told = verdict(f"G{4 * nodes}N{nodes}p{4 * nodes}", **facts)
        path = tmp_path / f"scale-train/{nodes}.json"
        path.write_text(json.dumps({"verdicts": [told]}))
    capsys.readouterr()

    status = scale("show", "scale-train")

    said = capsys.readouterr().out
    assert 0 == status, said
    assert (
        "    2        8         40      1.60   2.00         80%  good, by 80%" in said
    )
    assert (tmp_path / "scale-train/scale.svg").read_text().startswith("<svg")


def test_a_damaged_verdict_is_an_error_that_names_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    scale("plan", "G4N1p4", "--nodes", "1,2", "train.py")
    (tmp_path / "scale-train/2.json").write_text("{")

    assert 1 == scale("show", "scale-train")
    assert "'scale-train/2.json' holds no verdict" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["plan", "G4N1p4"], "needs a profile or a topology and a program"),
        (["show", "nothere"], "no scaling study in 'nothere'"),
        (["G4N1p4", "train.py"], "scale submits jobs"),
    ],
)
def test_wrong_usage_says_what_to_do(tmp_path, monkeypatch, capsys, words, complaint):
    monkeypatch.chdir(tmp_path)

    assert 2 == scale(*words)
    assert complaint in capsys.readouterr().err


# What the login node has: Slurm's commands, each of which only tells what it was given.
SBATCH = """#!/bin/sh
echo "sbatch $*" >> "$TOLD"
n=$(grep -c sbatch "$TOLD")
[ "$n" -lt "${REFUSES:-9}" ] || exit 1
echo "$n;cluster"
"""
TELLS = '#!/bin/sh\necho "${0##*/} $*" >> "$TOLD"\n'
# In the image's place.
TOOL = """#!/bin/sh
while [ "$1" != jax-sif ]; do shift; done
echo "$*" >> "$TOLD"
case "$2 $3" in 'scale plan') echo 'a folder in 1 2' ;; 'scale show') exit 3 ;; esac
"""


@pytest.fixture
def login(tmp_path):
    """Calls `jax-sif scale` there; returns its status and what the commands were told."""
    for name, text in (
        ("sbatch", SBATCH),
        ("squeue", TELLS),
        ("scancel", TELLS),
        ("apptainer", TOOL),
    ):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    (tmp_path / "image.sif").touch()

    def call(*words: str, **environment: str):
        done = subprocess.run(
            [BIN / "jax-sif", "scale", *words],
            env={
                "PATH": f"{tmp_path}:/usr/bin:/bin",
                "TOLD": str(tmp_path / "told"),
                "JAX_IMAGE": str(tmp_path / "image.sif"),
                **environment,
            },
            capture_output=True,
            text=True,
            timeout=30,
        )
        return done, (tmp_path / "told").read_text().splitlines()

    return call


def test_jobs_run_one_after_another_and_are_shown_when_all_have_ended(login):
    done, told = login("G4N1p4", "train.py", "a b")

    assert 3 == done.returncode, done.stderr
    assert [
        "jax-sif scale plan G4N1p4 train.py a b",
        "sbatch --parsable a folder/1.slurm",
        "sbatch --parsable --dependency=afterany:1 a folder/2.slurm",
        "squeue --noheader --jobs=1,2",
        "jax-sif scale show a folder",
    ] == told


def test_when_one_is_refused_those_before_it_are_taken_back(login):
    done, told = login("G4N1p4", "train.py", REFUSES="2")

    assert 2 == done.returncode
    assert "scancel 1" == told[-1]


def test_showing_needs_no_slurm(login):
    _, told = login("show", "a folder")

    assert ["jax-sif scale show a folder"] == told
