"""`jax-sif scale`: its options; what submits is bin/scale, on a login node, the rest runs in the container."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxsif.commands import job
from jaxsif.contract.errors import COULD_NOT_TELL, FAIL, PASS, KitError, UsageError

_EPILOG = """\
jax-sif scale G4N1p4 --nodes 1,2,4 train.py --steps 500
jax-sif scale plan ...   writes the scripts, and submits nothing
jax-sif scale show FOLDER   the table again, of jobs that have ended

Exit status: 0 every run has a speed, 1 one failed, 2 wrong usage, 3 one has no speed."""


def main(arguments: Sequence[str]) -> int:
    """Plans a study, or shows one."""
    deed, *rest = arguments or ("--help",)
    if deed == "show":
        return _show(rest)
    if deed == "plan":
        return _plan(rest)
    _parser().parse_known_args([deed] if deed in ("-h", "--help") else [])
    raise UsageError(
        "scale submits jobs, and this is not the host with Slurm's commands; run the"
        " jax-sif that the module brings, on a login node, or write the scripts:"
        " jax-sif scale plan ..."
    )


def _plan(arguments: Sequence[str]) -> int:
    """Writes the scripts, and says where, for bin/scale and for people."""
    from jaxsif.scaling import plan

    chosen, words = job.read(_parser(), arguments)
    if len(words) < 2:
        raise UsageError(
            "jax-sif scale needs a profile or a topology and a program, as in:"
            " jax-sif scale G4N1p4 --nodes 1,2,4 train.py"
        )
    profile, *program = words
    study = plan.Study(
        tuple(program), plan.node_counts(chosen["nodes"]), tuple(chosen["weak"])
    )
    plan.check(study)
    folder = Path(chosen["folder"] or f"scale-{study.name}")
    made_by = shlex.join(("jax-sif", "scale", "plan", *arguments))
    texts = plan.scripts(profile, study, job.options(chosen, made_by), folder)
    plan.write(folder, study, texts)
    print(f"{folder} in {' '.join(map(str, study.nodes))}")
    return PASS


def _show(arguments: Sequence[str]) -> int:
    """The table, and the drawing beside the verdicts."""
    parser = argparse.ArgumentParser(prog="jax-sif scale show")
    parser.add_argument("folder", type=Path, help="made by jax-sif scale")
    folder = parser.parse_args(arguments).folder

    from jaxsif.scaling import figure, plan, results, table

    study = plan.read(folder)
    verdicts = [_verdict(folder / f"{nodes}.json") for nodes in study.nodes]
    runs = [results.run_of(*pair) for pair in zip(study.nodes, verdicts, strict=True)]
    rows = results.compare(study, runs)
    sys.stdout.write(table.text(study, rows))
    drawing = figure.svg(study, rows)
    if drawing is not None:
        path = folder / "scale.svg"
        _write(path, drawing)
        print(f"drawn: {path}")
    if any(v is not None and v["status"] == FAIL for v in verdicts):
        return FAIL
    return PASS if all(row.speed_up is not None for row in rows) else COULD_NOT_TELL


def _verdict(path: Path) -> dict[str, Any] | None:
    """Of a job; None when it has not written one."""
    try:
        content = json.loads(path.read_text())
        verdict: dict[str, Any] = content["verdicts"][-1]
        return verdict
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise KitError(
            f"{str(path)!r} holds no verdict of jax-sif ({error}); remove it, or run the"
            " job again"
        ) from error


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text)
    except OSError as error:
        raise KitError(f"cannot write {str(path)!r}: {error.strerror}") from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="jax-sif scale",
        usage="jax-sif scale [options] PROFILE [options] PROGRAM [ARGUMENT ...]",
        description="Runs a program on more and more nodes, one job after another, and"
        " shows how its speed grows. Processes on a node and devices in a process are"
        " PROFILE's. The program tells its speed by jaxsif.report_speed(); of one that"
        " does not, whole runs are compared.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--nodes", default="1,2,4", help="%(default)s")
    parser.add_argument(
        "--weak",
        action="append",
        default=[],
        metavar="NAME",
        help="the program's option --NAME grows with the nodes, so that the work of each"
        " stays the same; may be repeated",
    )
    parser.add_argument("--folder", metavar="DIR", help="scale-PROGRAM by default")
    job.add_options(parser)
    return parser
