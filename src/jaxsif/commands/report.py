"""`jax-sif report`: its options and the files it writes."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jaxsif.core.verdict_file import StepVerdict


def main(arguments: Sequence[str]) -> int:
    """Reads verdicts, prints them, and writes the requested files."""
    chosen = _parser().parse_args(arguments)

    from jaxsif.core import attempts_file, verdict_file
    from jaxsif.core.atomic_write import atomic_write
    from jaxsif.core.errors import PASS, CouldNotTell
    from jaxsif.report import attempts
    from jaxsif.report.text import as_text

    histories = [p for p in chosen.verdicts if p.name.endswith(attempts_file.SUFFIX)]
    for path in histories:
        sys.stdout.write(attempts.as_text(attempts_file.read(path)))
    chosen.verdicts = [path for path in chosen.verdicts if path not in histories]
    if not chosen.verdicts:
        return PASS
    verdicts = [v for path in chosen.verdicts for v in verdict_file.read(path)]
    if not verdicts:
        raise CouldNotTell(
            f"no verdict in {', '.join(map(str, chosen.verdicts))}; verify the job's"
            " output first: jax-sif verify --verdict-file FILE"
        )
    # All contents are made before the first file is written, so that an error leaves
    # none.
    files = {path: _content(kind, verdicts) for kind, path in _files(chosen)}
    sys.stdout.write("\n".join(map(as_text, verdicts)))
    sys.stdout.flush()
    for path, content in files.items():
        atomic_write(path, content, "only the text above is available")
        print(f"jax-sif: wrote {path}", file=sys.stderr)
    return PASS


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="jax-sif report",
        description="Prints verdicts and renders them as HTML, JUnit XML, CSV or"
        " Prometheus metrics. By default it writes HTML: job.json becomes job.html.",
        epilog="Exit status: 0 report written, whatever the verdict; 2 usage error; 3"
        " no verdict in the files.",
    )
    parser.add_argument(
        "verdicts",
        nargs="+",
        type=Path,
        metavar="JOB.json",
        help="what jax-sif verify --verdict-file wrote; or NAME-JOB.attempts.json of a"
        " job with restarts, which is shown as text only",
    )
    parser.add_argument("--text", action="store_true", help="only print the text")
    add = parser.add_argument
    add("--html", type=Path, metavar="FILE", help="HTML page that works offline")
    add("--junit", type=Path, metavar="FILE", help="JUnit XML, for GitLab and Jenkins")
    add("--csv", type=Path, metavar="FILE", help="all samples, one per row")
    add(
        "--prometheus",
        type=Path,
        metavar="FILE",
        help="metrics for node_exporter (NAME.prom)",
    )
    return parser


def _files(chosen: argparse.Namespace) -> list[tuple[str, Path]]:
    """The kind and path of every file to write."""
    kinds = ("html", "junit", "csv", "prometheus")
    named = [(kind, getattr(chosen, kind)) for kind in kinds]
    named = [(kind, path) for kind, path in named if path is not None]
    if named or chosen.text:
        return named
    return [("html", chosen.verdicts[0].with_suffix(".html"))]


def _content(kind: str, verdicts: Sequence[StepVerdict]) -> str:
    """The text of one file. Formats are imported on demand."""
    if kind == "junit":
        from jaxsif.report.junit import as_junit

        return as_junit(verdicts)
    if kind == "csv":
        from jaxsif.report.csv_export import as_csv

        return as_csv(verdicts)
    if kind == "prometheus":
        from jaxsif.report.prometheus import as_prometheus

        return as_prometheus(verdicts)
    return _page(verdicts)


def _page(verdicts: Sequence[StepVerdict]) -> str:
    from jaxsif.html.document import PLOTLY_MISSING, plotly_js
    from jaxsif.report.page import as_html

    library = plotly_js()
    if library is None:
        print(f"jax-sif: {PLOTLY_MISSING}", file=sys.stderr)
    return as_html(verdicts, library)
