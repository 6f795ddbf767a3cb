"""`make bench`: sizes, start-up times and costs, as build/bench.json and a table; on the machine with the mini cluster."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys

import plain_image
from plain_image import ROOT, versions

MINICLUSTER = ROOT / "minicluster/minicluster"
IMAGE = ROOT / "build" / f"{versions.image_name('cpu')}.sif"

# What the figures are held against: the project's own goals.
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


def table(result: dict) -> list[str]:
    """One line a figure, with what it should reach."""
    rows = [("figure", "measured", "to reach")]
    for accel, image in result["images"].items():
        goal = f"<= {MOST_GB[accel]} GB" if accel in MOST_GB else "-"
        rows.append(
            (f"image {accel}", f"{image['gb']} GB, {image['files']} files", goal)
        )
    for state, start in result["start"].items():
        seconds = start["medians"]
        text = f"{seconds['container']:.2f} s / {seconds['plain disk']:.2f} s"
        rows.append(
            (
                f"import jax, container / plain disk, {state}",
                f"{start['ratio']:.2f} ({text})",
                "<= 1.10" if state == "warm" else "-",
            )
        )
    tool = result["tool"]
    text = (
        f"{tool['medians']['script']:.2f} s"
        f" (the container alone {tool['medians']['container']:.2f} s)"
    )
    rows.append(("jax-sif job, container start included", text, "<= 0.3 s"))
    rows.append(("import jaxsif", f"{tool['import_median_ms']:.1f} ms", "<= 30 ms"))
    job = result["job"]
    text = f"{job['medians']['verified']:.1f} s / {job['medians']['plain']:.1f} s"
    rows.append(
        ("all-reduce job, verified / plain", f"{job['ratio']:.2f} ({text})", "<= 1.00")
    )
    text = f"{job['medians']['verified']:.1f} s / {job['medians']['unguarded']:.1f} s"
    rows.append(
        (
            "the same, with / without guards",
            f"{job['ratio_of_guards']:.2f} ({text})",
            "<= 1.02",
        )
    )
    launch = result["launch"]
    text = f"{launch['medians']['launch']:.1f} s / {launch['medians']['plain']:.1f} s"
    rows.append(
        ("8 processes, launch / plain", f"{launch['ratio']:.2f} ({text})", "<= 1.10")
    )
    many = result["many_ranks"]
    text = f"{many['judge']['verdict_s']} s, {many['judge']['peak_memory_mb']} MB"
    rows.append(("verdict on 10,000 ranks", text, "<= 5 s, <= 500 MB"))
    text = ", ".join(
        f"{many['preflight'][f'calls_per_rank_{ranks}']} for {ranks} ranks"
        for ranks in (100, 10000)
    )
    rows.append(("calls to rank 0 per rank", text, "no growth with ranks"))
    judge = result["judge"]
    rows.append(("verify", f"{judge['records_per_s']} records/s", ">= 100000"))
    memory = judge["peak_memory_mb_by_records"]
    text = ", ".join(f"{mb} MB for {records} records" for records, mb in memory.items())
    rows.append(("verify, memory, 1024 ranks", text, "no growth with records"))
    entry = judge["entry_ms"]
    goals = {"rank 0": "<= 20 ms", "other ranks": "<= 20 ms", "first rank": "-"}
    for who, goal in goals.items():
        added = entry[who] - entry["without"]
        rows.append((f"entry, {who}", f"{added:.1f} ms", goal))
    widths = [max(map(len, column)) for column in zip(*rows)]
    return ["  ".join(c.ljust(w) for c, w in zip(row, widths)).rstrip() for row in rows]


if __name__ == "__main__":
    sys.exit(main())
