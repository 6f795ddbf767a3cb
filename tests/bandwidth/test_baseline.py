"""The baseline of good runs: the file, what is rejected, and the command."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from sample_measurements import fabrics, measured, verdict_on
from sample_records import VERSIONS

from jaxsif import cli
from jaxsif.bandwidth import baseline
from jaxsif.bandwidth.baseline import Baseline, Key
from jaxsif.core.errors import UsageError
from jaxsif.core.record_lines import encode
from jaxsif.core.verdict_file import SCHEMA
from jaxsif.verdict import render

CPU = fabrics(gpu=None, gpus=0, nvlink=None, cards=[])
KEY = Key("cpu", "G8N2p8", "all-reduce", "f32", 2**26)


def run(busbw: float, *more, **chosen):
    """A verdict for programs."""
    measurements = measured(busbw, size_bytes=2**26)
    return render.step_verdict(verdict_on(CPU, measurements, *more, **chosen), VERSIONS)


@pytest.fixture
def verdict_file(tmp_path):
    def write(name: str, *verdicts, schema: str = SCHEMA) -> Path:
        path = tmp_path / name
        content = {"schema": schema, "verdicts": verdicts}
        path.write_bytes(msgspec.json.encode(content))
        return path

    return write


def test_the_expected_speed_is_the_median_of_the_runs():
    known = Baseline()
    for speed in (0.40, 0.44, 0.41):
        known = baseline.with_run_added(known, run(speed), "run.json")

    assert 0.41 == pytest.approx(known.expected_gb_per_s(KEY))
    assert 3 == len(known.runs[KEY])


def test_the_oldest_runs_are_dropped():
    known = Baseline("", {KEY: (1.0,) * 60})

    assert 50 == len(baseline.with_run_added(known, run(0.4), "run.json").runs[KEY])


def test_a_file_is_read_as_it_was_written():
    known = Baseline(
        "b.toml",
        {
            KEY: (0.4, 0.41),
            Key('a "card" \\ named so', "G2N1p2", "all-gather", "bf16", 8): (3.0,),
        },
    )

    assert known == baseline.parse(baseline.render(known), "b.toml")


def test_the_file_is_for_people_too():
    assert (
        "[[known]]\n"
        'hardware = "cpu"\n'
        'topology = "G8N2p8"\n'
        'collective = "all-reduce"\n'
        'dtype = "f32"\n'
        "size_bytes = 67108864  # 64 MiB\n"
        "runs = [0.4, 0.41]\n"
    ) in baseline.render(Baseline("b", {KEY: (0.4, 0.41)}))


def test_a_failed_run_is_rejected():
    failed = run(0.4, measured(1.0, "all-gather", wrong={5: 3}))

    with pytest.raises(
        UsageError, match=r"r\.json: the verdict is 'FAIL', expected 'PAS"
    ):
        baseline.with_run_added(Baseline(), failed, "r.json")


def test_a_run_that_measured_nothing_is_rejected():
    nothing = render.step_verdict(verdict_on(), VERSIONS)

    with pytest.raises(
        UsageError, match=r"no bandwidth was measured.*bandwidth\.slurm"
    ):
        baseline.with_run_added(Baseline(), nothing, "r.json")


GOOD = baseline.render(Baseline("b", {KEY: (0.4,)}))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[", "b.toml is not TOML"),
        ('schema = "other/1"', r"\$\.schema"),
        ("a = 1", "required field `schema`"),
        (GOOD.replace("67108864", '"big"'), r"\$\.known\[0\]\.size_bytes"),
        (GOOD.replace('"cpu"', "7"), r"\$\.known\[0\]\.hardware"),
        (GOOD.replace("all-reduce", "all"), "'all' is not one of all-reduce,"),
        (GOOD.replace('"f32"', '"f64"'), "'f64' is not one of f32,"),
        (GOOD.replace("[0.4]", "[]"), r"\$\.known\[0\]\.runs"),
        (GOOD.replace("[0.4]", "[-1]"), r"\$\.known\[0\]\.runs\[0\]"),
        (f'schema = "{baseline.SCHEMA}"\nknown = 3', r"\$\.known"),
        (f'schema = "{baseline.SCHEMA}"\nknown = [3]', r"\$\.known\[0\]"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(text, complaint):
    with pytest.raises(UsageError, match=complaint):
        baseline.parse(text, "b.toml")


def test_add_creates_and_extends_the_file_and_show_prints_it(
    verdict_file, tmp_path, capsys
):
    file = f"--file={tmp_path / 'known.toml'}"
    first = verdict_file("1.json", run(0.40))
    second = verdict_file("2.json", run(0.44))

    assert 0 == cli.main(["baseline", "add", str(first), file])
    assert 0 == cli.main(["baseline", "add", str(second), str(first), file])
    assert 0 == cli.main(["baseline", "show", file])

    out = capsys.readouterr().out
    assert "known.toml: 1 speed, learned from 2 more runs" in out
    assert (
        "cpu       G8N2p8    all-reduce  f32   64 MiB  0.4 GB/s  0.4 to 0.44  3" in out
    )


def test_a_bad_run_leaves_the_file_as_it_was(verdict_file, tmp_path):
    path = tmp_path / "known.toml"
    good, bad = verdict_file("1.json", run(0.4)), tmp_path / "2.json"
    bad.write_text("{")
    cli.main(["baseline", "add", str(good), f"--file={path}"])
    before = path.read_text()

    assert 2 == cli.main(["baseline", "add", str(good), str(bad), f"--file={path}"])
    assert before == path.read_text()


def test_what_is_no_verdict_is_refused(verdict_file, tmp_path, capsys):
    other = verdict_file("1.json", run(0.4), schema="other/1")

    assert 2 == cli.main(["baseline", "add", str(other), f"--file={tmp_path}/b.toml"])
    assert (
        "1.json' has the schema 'other/1', expected 'jax-sif/verdict/1'"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize("way", ["option", "variable"])
def test_verify_compares_with_it(way, tmp_path, monkeypatch, capsys):
    path = tmp_path / "known.toml"
    path.write_text(baseline.render(Baseline("", {KEY: (1.0,)})))
    log = tmp_path / "job.out"
    measurements = [*CPU, *measured(0.4, size_bytes=2**26)]
    from sample_records import healthy, records

    log.write_text("".join(map(encode, [*measurements, *records(healthy())])))
    words = ["verify", "--topology=G8N2p8", str(log)]
    if way == "variable":
        monkeypatch.setenv("JAX_SIF_BASELINE", str(path))
    else:
        words.append(f"--baseline={path}")

    status = cli.main(words)

    assert 1 == status
    assert f"0.40 of the expected 1 ({path}, 1 run)" in capsys.readouterr().out


def test_a_baseline_that_is_not_there_is_wrong_usage(tmp_path, capsys):
    status = cli.main(["verify", "--topology=G8N2p8", f"--baseline={tmp_path}/no", "-"])

    assert 2 == status
    assert "cannot read the baseline" in capsys.readouterr().err
