"""`jax-sif scale`: its options and files. The jobs are submitted by bin/scale."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jaxsif.commands import job
from jaxsif.core.errors import PASS, KitError, UsageError

if TYPE_CHECKING:
    from jaxsif.core.verdict_file import StepVerdict
    from jaxsif.scaling.plan import Study
    from jaxsif.scaling.render import Summary
    from jaxsif.scaling.results import Row, Run

_EPILOG = """\
jax-sif scale G4N1p4 --nodes 1,2,4 train.py --steps 500
jax-sif scale plan ...      write the scripts, submit nothing
jax-sif scale show FOLDER   show the table again

Exit status: 0 every run has a speed, 1 a run failed, 2 usage error, 3 a run has no
speed."""

_NEEDS = (
    "jax-sif scale needs a profile or a topology, and a program, for example: jax-sif"
    " scale G4N1p4 --nodes 1,2,4 train.py"
)


def main(arguments: Sequence[str]) -> int:
    """Plans a study, or shows one."""
    if not arguments:
        raise UsageError(_NEEDS)
    subcommand, *rest = arguments
    if subcommand == "show":
        return _show(rest)
    if subcommand == "plan":
        return _plan(rest)
    _parser().parse_known_args([subcommand] if subcommand in ("-h", "--help") else [])
    raise UsageError(
        "scale submits jobs, but Slurm's commands are not available here; run the"
        " module's jax-sif on a login node, or write the scripts only: jax-sif scale"
        " plan ..."
    )


def _plan(arguments: Sequence[str]) -> int:
    """Writes the scripts, and prints their folder and names for bin/scale."""
    from jaxsif.scaling import plan

    chosen, args = job.read(_parser(), arguments)
    if len(args) < 2:
        raise UsageError(_NEEDS)
    profile, *program = args
    study = plan.Study(
        tuple(program),
        plan.node_counts(chosen["nodes"]),
        tuple(chosen["scale_argument"]),
        chosen["repeat"],
    )
    plan.check(study)
    folder = plan.folder_for(study, chosen["output_dir"])
    command_line = shlex.join(("jax-sif", "scale", "plan", *arguments))
    texts = plan.scripts(profile, study, job.options(chosen, command_line), folder)
    plan.write(folder, study, texts)
    print(f"{folder} in {' '.join(name for name, _ in study.jobs)}")
    return PASS


def _show(arguments: Sequence[str]) -> int:
    """Prints the table and the result, and writes them to files beside the verdicts."""
    parser = argparse.ArgumentParser(prog="jax-sif scale show")
    parser.add_argument("folder", type=Path, help="folder that jax-sif scale created")
    folder = parser.parse_args(arguments).folder

    from jaxsif.scaling import plan, render, results

    study = plan.read(folder)
    runs = [_run(folder / name, nodes) for name, nodes in study.jobs]
    rows = results.compare(study, runs)
    summary = render.summarize(study, rows)
    # All contents are made before the first file is written.
    files = _files(study, rows, summary)
    sys.stdout.write(render.text(study, rows))
    print(f"{summary.verdict}  {summary.text}", flush=True)
    _write(folder, files)
    return summary.status


def _files(study: Study, rows: Sequence[Row], summary: Summary) -> dict[str, str]:
    """The content of each file, by name."""
    from jaxsif.html.document import PLOTLY_MISSING, plotly_js
    from jaxsif.scaling.page import as_html
    from jaxsif.scaling.render import as_csv, as_json

    library = plotly_js()
    if library is None:
        print(f"jax-sif: {PLOTLY_MISSING}", file=sys.stderr)
    return {
        "scale.html": as_html(study, rows, summary, library),
        "scale.csv": as_csv(rows),
        "scale.json": as_json(study, rows, summary),
    }


def _write(folder: Path, files: dict[str, str]) -> None:
    from jaxsif.core.atomic_write import atomic_write

    for name, content in files.items():
        atomic_write(folder / name, content, "only the text above is available")
    print(f"jax-sif: wrote {folder}/ {' '.join(files)}", file=sys.stderr)


def _run(job: Path, nodes: int) -> Run:
    """The result of a job, from its verdict or its output."""
    from jaxsif.scaling import results

    verdict = _verdict(Path(f"{job}.json"))
    if verdict is not None:
        return results.run_of(nodes, verdict)
    output = Path(f"{job}.out")
    text = output.read_text(errors="replace") if output.exists() else ""
    return results.run_without_verdict(nodes, text, output)


def _verdict(path: Path) -> StepVerdict | None:
    """The verdict of a job; None if there is no file."""
    from jaxsif.core import verdict_file

    if not path.exists():
        return None
    try:
        return verdict_file.read(path)[-1]
    except (UsageError, IndexError) as error:
        raise KitError(
            f"{str(path)!r} is not a verdict of jax-sif ({error}); remove it, or run"
            " the job again"
        ) from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="jax-sif scale",
        usage="jax-sif scale [options] PROFILE [options] PROGRAM [ARGUMENT ...]",
        description="Runs a program on different numbers of nodes, one job after"
        " another, and shows\nits speed-up and efficiency. PROFILE sets the processes"
        " per node and devices per\nprocess. The program reports its speed by"
        " jaxsif.report_speed(); otherwise wall\ntimes are compared.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--nodes", default="1,2,4", help="node counts (default: %(default)s)"
    )
    parser.add_argument(
        "--repeat",
        type=int,
        default=1,
        metavar="N",
        help="number of runs per node count; the median is used, all runs are shown",
    )
    parser.add_argument(
        "--scale-argument",
        action="append",
        default=[],
        metavar="NAME",
        help="weak scaling: multiply the program's --NAME by the number of nodes; may"
        " be repeated",
    )
    parser.add_argument(
        "--output-dir", metavar="DIR", help="output folder (default: scale-PROGRAM)"
    )
    job.add_options(parser)
    return parser
