"""`make bench`: sizes, start-up times and costs, as build/bench.json and a table."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator

import plain_image
from plain_image import ROOT, versions

MINICLUSTER = ROOT / "minicluster/minicluster"
IMAGE = ROOT / "build" / f"{versions.image_name('cpu')}.sif"

# The project's own goals.
MOST_GB = {"cuda12": 3.5, "cuda13": 2.7}


def main() -> int:
    """Measures everything, writes the JSON, prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=5, help="of each timing")
    trials = parser.parse_args().trials
    if not IMAGE.is_file():
        print(
            f"bench: no image {IMAGE}; make build-image ACCEL=cpu BASE=local",
            file=sys.stderr,
        )
        return 2
    result = {
        "machine": {"cores": os.cpu_count(), "kernel": os.uname().release},
        "images": sizes(),
        "start": json.loads(
            in_toolbox("python3", "benchmarks/start.py", IMAGE, trials)
        ),
        "tool": json.loads(in_toolbox("python3", "benchmarks/tool.py", IMAGE, trials)),
        "judge": json.loads(in_image("benchmarks/judge_stream.py")),
        "many_ranks": json.loads(in_image("benchmarks/many_ranks.py")),
        "launch": json.loads(in_image("benchmarks/launch.py", "--json")),
        "job": compare_jobs(trials),
    }
    file = ROOT / "build/bench.json"
    file.write_text(json.dumps(result, indent=1) + "\n")
    print("\n".join(table(result)))
    print(f"all samples: {file}")
    return 0


def sizes() -> dict[str, dict[str, float]]:
    """Gigabytes (1e9 bytes) and number of files of each image that is built."""
    images = {a: ROOT / "build" / f"{versions.image_name(a)}.sif" for a in MOST_GB}
    images["cpu"] = IMAGE
    return {
        accel: {
            "gb": round(path.stat().st_size / 1e9, 3),
            "files": int(
                in_toolbox(
                    "apptainer",
                    "exec",
                    path,
                    "sh",
                    "-c",
                    "find / -xdev -type f | wc -l",
                )
            ),
        }
        for accel, path in images.items()
        if path.is_file()
    }


def compare_jobs(trials: int) -> dict:
    """The verified all-reduce against the plain one, in one job, in turn."""
    plain = plain_image.make()
    module = f"jax-sif/{versions.jax_version('cpu')}-cpu"
    subprocess.run([MINICLUSTER, "up"], check=True)
    output = call(
        [
            *(MINICLUSTER, "run", "--", "env", f"TRIALS={trials}"),
            *(f"PLAIN_IMAGE={plain}", f"APPTAINER_BIND={ROOT}"),
            *(ROOT / "tests/cluster/submit.sh", module, "bench.out"),
            ROOT / "benchmarks/compare_jobs.slurm",
        ]
    )
    ways = ("verified", "unguarded", "plain")
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for trial, way, ms in re.findall(r"^(\d+) (\w+) (\d+) ms$", output, re.M):
        if trial != "0":
            seconds[way].append(int(ms) / 1000)
    medians = {way: statistics.median(values) for way, values in seconds.items()}
    return {
        "seconds": seconds,
        "medians": medians,
        "ratio": round(medians["verified"] / medians["plain"], 3),
        "ratio_of_guards": round(medians["verified"] / medians["unguarded"], 3),
    }


def in_toolbox(*command: object) -> str:
    return call([MINICLUSTER, "toolbox", "--", *command])


def in_image(program: str, *options: str) -> str:
    python = ("python", ROOT / program, *options)
    return in_toolbox("apptainer", "exec", "--bind", ROOT, IMAGE, *python)


def call(command: list) -> str:
    words = [str(word) for word in command]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    if done.returncode:
        raise SystemExit(f"bench: {words} ended with {done.returncode}:\n{done.stdout}")
    return done.stdout


# A figure, what was measured, what it should reach.
Row = tuple[str, str, str]


def table(result: dict) -> list[str]:
    """One line a figure, with what it should reach."""
    rows: list[Row] = [
        ("figure", "measured", "to reach"),
        *_of_images(result),
        *_of_starts(result),
        *_of_jobs(result),
        *_of_many_ranks(result),
        *_of_judge(result["judge"]),
    ]
    widths = [max(map(len, column)) for column in zip(*rows)]
    return ["  ".join(c.ljust(w) for c, w in zip(row, widths)).rstrip() for row in rows]


def _ratio(
    name: str, ratio: float, seconds: tuple[str, float, float], goal: str
) -> Row:
    """`seconds`: how they are written, ours, and the other's."""
    form, ours, other = seconds
    return name, f"{ratio:.2f} ({ours:{form}} s / {other:{form}} s)", goal


def _of_images(result: dict) -> Iterator[Row]:
    for accel, image in result["images"].items():
        goal = f"<= {MOST_GB[accel]} GB" if accel in MOST_GB else "-"
        yield f"image {accel}", f"{image['gb']} GB, {image['files']} files", goal


def _of_starts(result: dict) -> Iterator[Row]:
    for state, start in result["start"].items():
        took = start["medians"]
        yield _ratio(
            f"import jax, container / plain disk, {state}",
            start["ratio"],
            (".2f", took["container"], took["plain disk"]),
            "<= 1.10" if state == "warm" else "-",
        )
    tool = result["tool"]
    text = (
        f"{tool['medians']['script']:.2f} s"
        f" (the container alone {tool['medians']['container']:.2f} s)"
    )
    yield "jax-sif job, container start included", text, "<= 0.3 s"
    yield "import jaxsif", f"{tool['import_median_ms']:.1f} ms", "<= 30 ms"


def _of_jobs(result: dict) -> Iterator[Row]:
    job = result["job"]
    took = job["medians"]
    yield _ratio(
        "all-reduce job, verified / plain",
        job["ratio"],
        (".1f", took["verified"], took["plain"]),
        "<= 1.00",
    )
    yield _ratio(
        "the same, with / without guards",
        job["ratio_of_guards"],
        (".1f", took["verified"], took["unguarded"]),
        "<= 1.02",
    )
    launch = result["launch"]
    yield _ratio(
        "8 processes, launch / plain",
        launch["ratio"],
        (".1f", launch["medians"]["launch"], launch["medians"]["plain"]),
        "<= 1.10",
    )


def _of_many_ranks(result: dict) -> Iterator[Row]:
    many = result["many_ranks"]
    text = f"{many['judge']['verdict_s']} s, {many['judge']['peak_memory_mb']} MB"
    yield "verdict on 10,000 ranks", text, "<= 5 s, <= 500 MB"
    text = ", ".join(
        f"{many['preflight'][f'calls_per_rank_{ranks}']} for {ranks} ranks"
        for ranks in (100, 10000)
    )
    yield "calls to rank 0 per rank", text, "no growth with ranks"


def _of_judge(judge: dict) -> Iterator[Row]:
    yield "verify", f"{judge['records_per_s']} records/s", ">= 100000"
    memory = judge["peak_memory_mb_by_records"]
    text = ", ".join(f"{mb} MB for {records} records" for records, mb in memory.items())
    yield "verify, memory, 1024 ranks", text, "no growth with records"
    entry = judge["entry_ms"]
    goals = {"rank 0": "<= 20 ms", "other ranks": "<= 20 ms", "with a certificate": ""}
    for who, goal in goals.items():
        yield f"entry, {who}", f"{entry[who] - entry['without']:.1f} ms", goal


if __name__ == "__main__":
    sys.exit(main())
