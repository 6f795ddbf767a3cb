"""`jax-sif scale`: what it writes, makes of the verdicts, and refuses."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import csv
import io
import json
import subprocess

import msgspec
import pytest
from checkout import ROOT
from msgspec.structs import replace
from studies import efficient, runs, verdict

from jaxsif import cli
from jaxsif.core.errors import UsageError
from jaxsif.core.verdict_file import SCHEMA, VerdictFile
from jaxsif.scaling import page, plan, render, results
from jaxsif.scaling.plan import Study

BIN = ROOT / "bin"
STRONG = Study(("train.py",), (1, 2, 4))
WEAK = Study(("train.py", "--batch", "64"), (1, 2, 4), ("batch",))


def test_the_program_s_own_word_on_its_speed_counts():
    step = verdict("G8N2p8", items=300.0, seconds=2.0, unit="pictures")

    run = results.run_of(2, step)

    assert results.Run(2, 8, 150.0, "pictures", "") == run


def test_without_it_whole_runs_are_compared():
    run = results.run_of(2, verdict("G8N2p8"))

    assert (0.1, results.WALL_TIME_UNIT) == (run.per_s, run.unit)


def test_a_job_that_failed_has_no_speed_and_says_why():
    step = verdict("G8N2p8", items=300.0, seconds=2.0, unit="pictures")
    summary = "G8N2p8: rank 3 is dead"
    step = replace(step, status=1, verdict="FAIL", summary=summary)

    run = results.run_of(2, step)

    assert (None, "FAIL: rank 3 is dead") == (run.per_s, run.message)


def test_a_job_that_was_refused_before_its_ranks_began_says_why():
    output = "1. there is no 'a.py'\n   -> submit\nFAIL  G2N1p2: there is no 'a.py'\n"

    run = results.run_without_verdict(1, output, "scale-a/1.out")

    assert ("FAIL: there is no 'a.py'", True) == (run.message, run.failed)


@pytest.mark.parametrize("output", ["", "Killed\n"])
def test_a_job_of_which_nothing_is_known_has_its_output_named(output):
    run = results.run_without_verdict(1, output, "scale-a/1.out")

    assert ("no verdict; see its output: scale-a/1.out", False) == (
        run.message,
        run.failed,
    )


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

    rows = results.compare(Study(("a.py",), (1, 2)), [first, second])

    assert None is rows[1].speed_up
    assert ["2 nodes: reports steps, other runs report samples"] == list(
        render.notes(rows)
    )


def test_the_median_of_several_runs_counts():
    study = Study(("a.py",), (1, 2), repeats=3)
    again = [run for turn in ((10, 18), (9, 20), (30, 2)) for run in runs(*turn)]

    rows = results.compare(study, again)

    assert [10, 18] == [row.per_s for row in rows]
    assert 1.8 == rows[1].speed_up
    assert (1.8, 2.0, 0.2) == rows[1].speed_ups


def test_a_large_spread_of_runs_is_noted():
    study = Study(("a.py",), (1, 2), repeats=2)

    rows = results.compare(study, [*runs(10, 18), *runs(22, 20)])

    assert [
        "1 node: the fastest run is 2.2 times as fast as the slowest; repeat it"
        " (--repeat)"
        ", or run it when the cluster is less busy"
    ] == list(render.notes(rows))


def test_a_run_that_failed_among_several_leaves_the_others():
    study = Study(("a.py",), (1, 2), repeats=2)

    rows = results.compare(study, [*runs(10, 20), *runs(10, None)])

    assert [("2", 1.0), ("1 of 2", 1.0)] == [
        (render.cells(row)[2], row.efficiency) for row in rows
    ]


@pytest.mark.parametrize(
    ("nodes", "good"), [(1, 0.8), (8, 0.8), (9, 0.6), (16, 0.6), (32, 0.4), (33, None)]
)
def test_more_nodes_may_be_less_efficient(nodes, good):
    run = results.Run(nodes, nodes, 1.0, "samples", "")

    assert (
        good == results.compare(Study(("a.py",), (nodes,)), [run])[0].target_efficiency
    )


def test_the_table_shows_speeds_marks_and_what_is_missing():
    rows = results.compare(STRONG, runs(1234.5, 2345, None))

    assert """\
train, strong scaling: the same work on more nodes
nodes  devices    runs  samples/s  speed-up  ideal  efficiency
    1        1       1      1,234      1.00   1.00        100%
    2        2       1      2,345      1.90   2.00         94%  good, by 80%
    4        4  0 of 1          -         -   4.00           -
4 nodes: no verdict
""" == render.text(STRONG, rows)


def test_what_misses_a_mark_by_little_does_not_look_as_if_it_met_it():
    assert ["79%", "80%", "100%", "-"] == list(
        map(render.percent, (0.7999, 0.8, 1.0, None))
    )


@pytest.mark.parametrize(
    ("efficiencies", "line"),
    [
        ((1, 0.95, 0.9), "SCALES WELL  train: 90% of ideal on 4 nodes (80% is good)"),
        (
            (1, 0.9, 0.7),
            "SCALES POORLY  train: 70% of ideal on 4 nodes (80% is good); well on 2"
            " nodes",
        ),
        (
            (1, 0.5, 0.25),
            "SCALES POORLY  train: 50% of ideal on 2 nodes (80% is good), 25% of ideal"
            " on 4 nodes (80% is good)",
        ),
        # More nodes may be less efficient, so it is good again where it got no better.
        (
            (1, 1, 1, 0.7, 0.7),
            "SCALES POORLY  train: 70% of ideal on 8 nodes (80% is good); well on 2 and"
            " 4 and 16 nodes",
        ),
        ((1, None, 0.9), "COULD NOT TELL  train: a run on 2 nodes has no speed"),
        ((None, None), "COULD NOT TELL  train: a run on 1 and 2 nodes has no speed"),
    ],
)
def test_the_answer_is_one_line(efficiencies, line):
    found = render.summarize(*efficient(*efficiencies))

    assert line == f"{found.verdict}  {found.text}"
    assert (3 if found.verdict == "COULD NOT TELL" else 0) == found.status


def test_beyond_the_targets_there_is_no_rating():
    study = Study(("a.py",), (64, 128))
    pair = [results.Run(n, n, n * 0.5**i, "x", "") for i, n in enumerate(study.nodes)]

    found = render.summarize(study, results.compare(study, pair))

    assert ("MEASURED", 0) == (found.verdict, found.status)
    assert (
        "50% of ideal on 128 nodes; no efficiency target is defined beyond 32"
        in found.text
    )


def test_a_run_that_failed_comes_before_all_else():
    failed = results.Run(4, 4, None, "", "FAIL: rank 3 is dead", failed=True)

    found = render.summarize(STRONG, results.compare(STRONG, [*runs(10, None), failed]))

    assert ("FAIL", "train: a run on 4 nodes failed", 1) == (
        found.verdict,
        found.text,
        found.status,
    )


def test_marks_are_steps_as_far_as_the_study_goes():
    def ranges(*nodes):
        pair = [results.Run(n, n, float(n), "x", "") for n in nodes]
        rows = results.compare(Study(("a.py",), nodes), pair)
        return [(mark.begin, mark.end, mark.least) for mark in page.bands(rows)]

    assert [(1, 4, 0.8)] == ranges(1, 2, 4)
    assert [(2, 8, 0.8), (8, 16, 0.6), (16, 32, 0.4)] == ranges(2, 64)
    assert [(16, 32, 0.4)] == ranges(16, 32)
    assert [] == ranges(64, 128)


@pytest.mark.parametrize("draw", [page.speed_up, page.efficiency])
def test_a_chart_shows_every_run_their_median_the_ideal_and_what_is_good(draw):
    study = Study(("a.py",), (1, 2, 4, 16), repeats=2)
    speeds = {1: (9, 11), 2: (19, 17), 4: (38, 30), 16: (80, 90)}
    some = [
        results.Run(nodes, nodes, per_s, "steps", "")
        for nodes, of_nodes in speeds.items()
        for per_s in of_nodes
    ]

    chart = draw(results.compare(study, some))

    traces = [(trace["name"], trace["x"]) for trace in chart.data]
    assert [
        ("good", [1, 8, 8, 1]),
        ("good", [8, 16, 16, 8]),
        ("ideal", [1, 2, 4, 16]),
        ("median of the runs", [1, 2, 4, 16]),
        ("each run", [1, 1, 2, 2, 4, 4, 16, 16]),
    ] == traces
    labels = [label["text"] for label in chart.layout["annotations"]]
    assert ["good: 80%", "good: 60%"] == labels[:2]
    assert 3 == len(labels[2:])
    assert "against nodes: 1" in chart.alt_text


def test_the_bands_lie_below_the_ideal():
    _, rows = efficient(1, 0.9, 0.7)

    speed_ups, parts = page.speed_up(rows).data, page.efficiency(rows).data

    assert [0.8, 3.2, 4.0, 1.0] == speed_ups[0]["y"]
    assert [0.8, 0.8, 1.0, 1.0] == parts[0]["y"]
    assert [1.0, 2.0, 4.0] == speed_ups[1]["y"]
    assert [1.0, 1.8, 2.8] == [round(y, 9) for y in speed_ups[2]["y"]]


def test_the_page_says_first_what_came_out():
    study, rows = efficient(1, 0.5, 0.25)
    found = render.summarize(study, rows)

    text = page.as_html(study, rows, found, "window.Plotly = {};")

    assert text.index("SCALES POORLY</h1>") < text.index("50% of ideal on 2 nodes")
    assert text.index("<h2>Speed-up") < text.index("<h2>Results")
    assert 2 == text.count("data-spec=")
    assert "text/csv;base64," in text
    assert "http" not in text.partition("<style>")[0].replace("http-equiv", "")


def test_the_page_without_plotly_or_with_one_point_has_its_table():
    study, rows = efficient(1, None)
    found = render.summarize(study, rows)

    drawn = page.as_html(study, rows, found, "window.Plotly = {};")
    bare = page.as_html(study, efficient(1, 0.9)[1], found, None)

    assert "data-spec=" not in drawn and "no verdict" in drawn
    assert "data-spec=" not in bare and "pip install" in bare
    assert "90%" in bare


def test_a_program_s_name_cannot_leave_its_place_in_the_page():
    study = Study(('<script>&".py',), (1, 2))
    rows = results.compare(study, runs(10, 19, unit="</script><b>"))

    text = page.as_html(study, rows, render.summarize(study, rows), "var x;")

    assert "<script>&" not in text and "<b>19" not in text
    # Two of charts' data, the library, the page's own.
    assert 4 == text.count("</script>")


def test_every_run_is_a_row_of_csv():
    study = Study(("a.py",), (1, 2), repeats=2)
    rows = results.compare(study, [*runs(10, 15), *runs(12, None)])

    found = list(csv.DictReader(io.StringIO(render.as_csv(rows))))

    assert ["1", "2", "1", "2"] == [row["run"] for row in found]
    assert ["10", "12", "15", ""] == [row["per_s"] for row in found]
    assert "no verdict" == found[-1]["message"]
    assert 15 / 11 == float(found[2]["speed_up"])


def test_json_has_what_the_table_has():
    study, rows = efficient(1, 0.5)

    content = json.loads(render.as_json(study, rows, render.summarize(study, rows)))

    assert ("jax-sif/scaling/1", "SCALES POORLY", 0) == (
        content["schema"],
        content["verdict"],
        content["status"],
    )
    assert [(1, 1.0, True), (2, 0.5, False)] == [
        (row["nodes"], row["efficiency"], row["is_good"]) for row in content["rows"]
    ]


def test_the_number_behind_an_option_grows():
    words = ["train.py", "--batch", "64", "--width=8"]

    assert ["train.py", "--batch", "256", "--width=32"] == plan.scale_arguments(
        words, ["batch", "--width"], 4
    )


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["train.py"], "is not an option"),
        (["train.py", "--batch"], "is not an option"),
        (["train.py", "--batch", "many"], "--batch is 'many', expected a whole number"),
        (["train.py", "--batch=0"], "--batch is '0', expected a whole number"),
    ],
)
def test_what_cannot_grow_is_refused(words, complaint):
    with pytest.raises(UsageError, match=complaint):
        plan.scale_arguments(words, ["batch"], 2)


@pytest.mark.parametrize(
    "text", ["", "1", "2,2", "0,1", "1,-2", "1,2,", "a,b", "\uff11,2"]
)
def test_what_is_no_series_is_refused(text):
    with pytest.raises(UsageError, match="--nodes is"):
        plan.node_counts(text)


def test_nodes_come_in_rising_order():
    assert (1, 2, 8) == plan.node_counts("8,1,2")


def test_work_can_grow_only_by_whole_numbers():
    with pytest.raises(UsageError, match="3 nodes are not a multiple of 2"):
        plan.check(Study(("a.py",), (2, 3), ("batch",)))


def test_a_study_without_runs_is_refused():
    with pytest.raises(UsageError, match="--repeat is 0, expected 1 or more"):
        plan.check(Study(("a.py",), (1, 2), repeats=0))


def test_all_nodes_come_before_any_again():
    study = Study(("a.py",), (1, 4), repeats=2)

    assert [("1", 1), ("4", 4), ("1-2", 1), ("4-2", 4)] == list(study.jobs)


def scale(*words: str) -> int:
    return cli.main(["scale", *words])


def test_scripts_keep_the_shape_of_a_node(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    status = scale(
        "plan", "G8N1p4", "--nodes", "1,4", "--scale-argument=batch", *WEAK.program
    )

    assert 0 == status
    assert "scale-train in 1 4\n" == capsys.readouterr().out
    script = (tmp_path / "scale-train/4.slurm").read_text()
    assert "JAX_SIF_TOPOLOGY:-G32N4p16}" in script
    assert "--job-name=train-4\n" in script
    assert "python train.py --batch 256 2> >(jax-sif mark) |\n" in script
    assert "jax-sif verify --user-program --verdict-file scale-train/4.json\n" in script
    assert WEAK == Study(("train.py", "--batch", "64"), (1, 2, 4), ("batch",))


def test_each_run_has_a_script_an_output_and_a_verdict_of_its_own(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)

    scale("plan", "G1N1p1", "--nodes", "1,2", "--repeat", "2", "train.py")

    assert "scale-train in 1 2 1-2 2-2\n" == capsys.readouterr().out
    script = (tmp_path / "scale-train/2-2.slurm").read_text()
    assert "#SBATCH --output=scale-train/2-2.out\n" in script
    assert "--verdict-file scale-train/2-2.json\n" in script


def test_scripts_of_an_earlier_plan_go(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "scale-train"
    scale("plan", "G1N1p1", "--nodes", "1,2,4", "--repeat", "2", "train.py")
    (folder / "2024-notes.txt").write_text("mine")

    scale("plan", "G1N1p1", "--nodes", "1,2", "train.py")

    names = {"1.slurm", "2.slurm", "study.json", "2024-notes.txt"}
    assert names == {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("name", ["1.json", "1-2.out", "scale.html", "jobs"])
def test_results_of_an_earlier_study_stay_and_do_not_count(
    tmp_path, monkeypatch, capsys, name
):
    monkeypatch.chdir(tmp_path)
    scale("plan", "G1N1p1", "--nodes", "1,2", "--output-dir", "scale-train", "train.py")
    for folder in ("scale-train", "scale-train-2"):
        (tmp_path / folder / name).write_text("{}")
        capsys.readouterr()
        assert 0 == scale("plan", "G1N1p1", "--nodes", "1,2", "train.py")
    assert "scale-train-3 in 1 2\n" == capsys.readouterr().out
    assert 3 == scale("show", "scale-train-3")
    assert "{}" == (tmp_path / "scale-train" / name).read_text()

    words = ("--output-dir", "scale-train", "train.py")
    assert 2 == scale("plan", "G1N1p1", "--nodes", "1,2", *words)
    assert "{}" == (tmp_path / "scale-train" / name).read_text()


def test_a_folder_that_holds_no_study_keeps_what_is_in_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "7.json").write_text("mine")

    scale("plan", "G1N1p1", "--nodes", "1,2", "--output-dir", ".", "train.py")

    assert "mine" == (tmp_path / "7.json").read_text()


def test_a_study_is_shown_from_its_verdicts(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    scale("plan", "G4N1p4", "--nodes", "1,2", "train.py")
    for nodes, seconds in ((1, 4.0), (2, 2.5)):
        facts = {"items": 100.0, "seconds": seconds, "unit": "samples"}
        step = verdict(f"G{4 * nodes}N{nodes}p{4 * nodes}", **facts)
        path = tmp_path / f"scale-train/{nodes}.json"
        path.write_bytes(msgspec.json.encode(VerdictFile(SCHEMA, (step,))))
    capsys.readouterr()

    status = scale("show", "scale-train")

    said = capsys.readouterr()
    assert 0 == status, said
    row = "    2        8     1         40      1.60   2.00         80%  good, by 80%"
    assert row in said.out.splitlines()
    last = "SCALES WELL  train: 80% of ideal on 2 nodes (80% is good)"
    assert last == said.out.splitlines()[-1]
    assert "wrote scale-train/ scale.html scale.csv scale.json" in said.err
    folder = tmp_path / "scale-train"
    assert "SCALES WELL</h1>" in (folder / "scale.html").read_text()
    assert 3 == len((folder / "scale.csv").read_text().splitlines())
    assert 40.0 == json.loads((folder / "scale.json").read_text())["rows"][1]["per_s"]


def test_a_damaged_verdict_is_an_error_that_names_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    scale("plan", "G4N1p4", "--nodes", "1,2", "train.py")
    (tmp_path / "scale-train/2.json").write_text("{")

    assert 1 == scale("show", "scale-train")
    assert "'scale-train/2.json' is not a verdict" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([], "needs a profile or a topology, and a program"),
        (["plan", "G4N1p4"], "needs a profile or a topology, and a program"),
        (["show", "nothere"], "no scaling study in 'nothere'"),
        (["G4N1p4", "train.py"], "scale submits jobs"),
        (["plan", "G4N1p4", "--repeat", "0", "a.py"], "--repeat is 0"),
    ],
)
def test_wrong_usage_says_what_to_do(tmp_path, monkeypatch, capsys, words, complaint):
    monkeypatch.chdir(tmp_path)

    assert 2 == scale(*words)
    assert complaint in capsys.readouterr().err


# What the login node has: Slurm's commands, each of which only writes down its
# arguments.
SBATCH = """#!/bin/sh
echo "sbatch $*" >> "$CALLS"
n=$(grep -c sbatch "$CALLS")
[ "$n" -lt "${REFUSES:-9}" ] || exit 1
echo "$n;cluster"
"""
LOGS_CALL = '#!/bin/sh\necho "${0##*/} $*" >> "$CALLS"\n'
SCONTROL = """#!/bin/sh
echo "scontrol $*" >> "$CALLS"
echo "JobId=$4 JobState=${STATE:-COMPLETED} Reason=None ExitCode=0:0 End=now"
"""
# In the image's place.
TOOL = """#!/bin/sh
while [ "$1" != jax-sif ]; do shift; done
echo "$*" >> "$CALLS"
case "$2 $3" in
  'scale plan')
    mkdir -p 'a folder'
    echo 'what it said' | tee 'a folder/1.out' > 'a folder/2.out'
    echo 'a folder in 1 2'
    ;;
  'scale show') exit 3 ;;
esac
"""


@pytest.fixture
def login(tmp_path):
    """Calls `jax-sif scale` there; returns its status and the calls of the commands."""
    for name, text in (
        ("sbatch", SBATCH),
        ("scontrol", SCONTROL),
        ("scancel", LOGS_CALL),
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
                "CALLS": str(tmp_path / "calls"),
                "JAX_IMAGE": str(tmp_path / "image.sif"),
                "JAX_SIF_POLL_INTERVAL_S": "0.02",
                **environment,
            },
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=30,
        )
        return done, (tmp_path / "calls").read_text().splitlines()

    return call


def test_jobs_run_one_after_another_and_are_shown_when_all_have_ended(login):
    done, calls = login("G4N1p4", "train.py", "a b")

    assert 3 == done.returncode, done.stderr
    assert [
        "jax-sif scale plan G4N1p4 train.py a b",
        "sbatch --parsable a folder/1.slurm",
        "sbatch --parsable --dependency=afterany:1 a folder/2.slurm",
        "scontrol --oneliner show job 1",
        "scontrol --oneliner show job 2",
        "jax-sif scale show a folder",
    ] == calls


def test_a_job_that_ends_without_output_is_named(login, tmp_path):
    tool = TOOL.replace("| tee 'a folder/1.out' ", "")
    (tmp_path / "apptainer").write_text(tool)

    done, _ = login("G4N1p4", "train.py", STATE="CANCELLED")

    assert (
        "jax-sif: job 1 ended without any output in a folder/1.out (CANCELLED); why:"
        " scontrol show job 1\n"
    ) == done.stderr


def test_when_one_is_refused_those_before_it_are_taken_back(login):
    done, calls = login("G4N1p4", "train.py", REFUSES="2")

    assert 2 == done.returncode
    assert "scancel 1" == calls[-1]


def test_showing_needs_no_slurm(login):
    _, calls = login("show", "a folder")

    assert ["jax-sif scale show a folder"] == calls
