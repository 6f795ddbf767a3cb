"""`jax-sif scale`: its options and files; what submits is bin/scale, on a login node, the rest runs in the container."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxsif.commands import job
from jaxsif.core.errors import PASS, KitError, UsageError

if TYPE_CHECKING:
    from jaxsif.scaling.conclusion import Conclusion
    from jaxsif.scaling.plan import Study
    from jaxsif.scaling.results import Row, Run

_EPILOG = """\
jax-sif scale G4N1p4 --nodes 1,2,4 train.py --steps 500
jax-sif scale plan ...   writes the scripts, and submits nothing
jax-sif scale show FOLDER   the table again, of jobs that have ended

Exit status: 0 every run has a speed, whatever it is, 1 one failed, 2 wrong usage, 3 one
has no speed."""

_NEEDS = (
    "jax-sif scale needs a profile or a topology and a program, as in: jax-sif scale"
    " G4N1p4 --nodes 1,2,4 train.py"
)


def main(arguments: Sequence[str]) -> int:
    """Plans a study, or shows one."""
    if not arguments:
        raise UsageError(_NEEDS)
    deed, *rest = arguments
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
        raise UsageError(_NEEDS)
    profile, *program = words
    study = plan.Study(
        tuple(program),
        plan.node_counts(chosen["nodes"]),
        tuple(chosen["weak"]),
        chosen["repeat"],
    )
    plan.check(study)
    folder = plan.folder_for(study, chosen["folder"])
    made_by = shlex.join(("jax-sif", "scale", "plan", *arguments))
    texts = plan.scripts(profile, study, job.options(chosen, made_by), folder)
    plan.write(folder, study, texts)
    print(f"{folder} in {' '.join(name for name, _ in study.jobs)}")
    return PASS


def _show(arguments: Sequence[str]) -> int:
    """The table and what follows from it, and the same as files beside the verdicts."""
    parser = argparse.ArgumentParser(prog="jax-sif scale show")
    parser.add_argument("folder", type=Path, help="made by jax-sif scale")
    folder = parser.parse_args(arguments).folder

    from jaxsif.scaling import conclusion, plan, results, table

    study = plan.read(folder)
    runs = [_run(folder / name, nodes) for name, nodes in study.jobs]
    rows = results.compare(study, runs)
    found = conclusion.conclude(study, rows)
    # All are made before the first is written.
    files = _files(study, rows, found)
    sys.stdout.write(table.text(study, rows))
    print(f"{found.word}  {found.text}", flush=True)
    _write(folder, files)
    return found.status


def _files(study: Study, rows: Sequence[Row], found: Conclusion) -> dict[str, str]:
    """The text of each file by its name."""
    from jaxsif.html import plotly
    from jaxsif.scaling.files import as_csv, as_json
    from jaxsif.scaling.page import as_html

    library = plotly.plotly_js()
    if library is None:
        print(f"jax-sif: {plotly.MISSING}", file=sys.stderr)
    return {
        "scale.html": as_html(study, rows, found, library),
        "scale.csv": as_csv(rows),
        "scale.json": as_json(study, rows, found),
    }


def _write(folder: Path, files: dict[str, str]) -> None:
    from jaxsif.core.atomic_write import atomic_write

    for name, content in files.items():
        atomic_write(folder / name, content, "the text above is all that there is")
    print(f"jax-sif: wrote {folder}/ {' '.join(files)}", file=sys.stderr)


def _run(job: Path, nodes: int) -> Run:
    """What is known of a job, from its verdict and its output beside it."""
    from jaxsif.scaling import results

    verdict = _verdict(Path(f"{job}.json"))
    if verdict is not None:
        return results.run_of(nodes, verdict)
    output = Path(f"{job}.out")
    text = output.read_text(errors="replace") if output.exists() else ""
    return results.run_without_verdict(nodes, text, output)


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
        "--repeat",
        type=int,
        default=1,
        metavar="N",
        help="run each number of nodes so often; the median counts, every run is shown",
    )
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
