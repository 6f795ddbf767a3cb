"""The tool's JSON, read by a reader that is strict: whatever the ranks have said."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sample_records

from jaxsif.cli import main
from jaxsif.core import verdict_file
from jaxsif.core.strict_json import encode

NAN, INF = float("nan"), float("inf")
HALF = "\ud83d"

# What a fact may hold that a reader stumbles over, and what merely is of another type.
ODD = (
    *(NAN, INF, -INF, 1e308, 10**30, -1, True, None, 0.5),
    *("", HALF, f"a{HALF}b", "\x00", "\u2028", "ü", "\U0001f600", "</script>"),
    *([], [NAN], {}, {HALF: INF}, {"": {"": [HALF]}}),
)


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value, wanted",
    [
        (NAN, "nan"),
        ([INF, -INF, 1.5], ["inf", "-inf", 1.5]),
        ({"a" + HALF: "b" + HALF}, {"a?": "b?"}),
        (("ü", True, None), ["ü", True, None]),
    ],
)
def test_what_json_has_no_word_for_gets_one(value, wanted):
    assert wanted == msgspec.json.decode(encode(value).encode())


@pytest.mark.parametrize("depth", [100, 900])
def test_what_is_nested_without_bottom_ends(depth):
    assert encode(nested(depth)).count("[") < 100


def judged(tmp_path: Path, job: Any) -> Path | None:
    """The JSON of `jax-sif verify`; None where that wrote none."""
    log, file = tmp_path / "log", tmp_path / "verdict.json"
    log.write_text(sample_records.output(job), errors="replace")
    main(["verify", "--topology", "G8N2p8", "--verdict-file", str(file), str(log)])
    return file if file.exists() else None


@pytest.mark.parametrize("got", [NAN, INF])
def test_a_device_that_computes_no_number_is_reported(tmp_path, capsys, got):
    job = sample_records.healthy()
    job[3]["allreduce"].update(sum=got, wrong_elements=1)
    file = judged(tmp_path, job)

    json.loads(file.read_text(), parse_constant=pytest.fail)
    assert 0 == main(["report", "--text", str(file)])
    assert "FAIL" in capsys.readouterr().out


@pytest.mark.parametrize("seed", range(40))
def test_a_verdict_on_any_records_is_read_again(tmp_path, seed):
    chance = random.Random(seed)
    job = sample_records.healthy()
    for _ in range(chance.randint(1, 3)):
        record = chance.choice(list(chance.choice(list(job.values())).values()))
        name = chance.choice([*record, "of another jax-sif"])
        if name not in ("phase", "rank", "step", "node", "time"):
            record[name] = chance.choice([*ODD, nested(100)])
    file = judged(tmp_path, job)
    if file is not None:
        assert verdict_file.read(file)


@pytest.mark.parametrize("field", ["rank", "node", "time", "step", "phase"])
@pytest.mark.parametrize("value", [v for v in ODD if isinstance(v, str | int | float)])
def test_a_verdict_on_any_address_is_read_again(tmp_path, field, value):
    job = sample_records.healthy()
    job[3]["devices"][field] = value
    file = judged(tmp_path, job)
    if file is not None:
        assert verdict_file.read(file)
