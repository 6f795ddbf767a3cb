"""`jax-sif report`: its options, and the files it writes; runs in the container, on a login node or a laptop."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jaxsif.report.document import Verdict


def main(arguments: Sequence[str]) -> int:
    """Reads verdicts, shows them, and writes the files that were asked for."""
    chosen = _parser().parse_args(arguments)

    from jaxsif.core.atomic_write import atomic_write
    from jaxsif.core.errors import PASS, CouldNotTell
    from jaxsif.report import document
    from jaxsif.report.terminal import as_text

    verdicts = [v for path in chosen.verdicts for v in document.read(path)]
    if not verdicts:
        raise CouldNotTell(
            f"no verdict in {', '.join(map(str, chosen.verdicts))}; judge the job's"
            " output first: jax-sif verify --json FILE"
        )
    # All are made before the first is written: a wrong record leaves no half result.
    files = {path: _content(kind, verdicts) for kind, path in _files(chosen)}
    sys.stdout.write("\n".join(map(as_text, verdicts)))
    sys.stdout.flush()
    for path, content in files.items():
        atomic_write(path, content, "the text above is all that there is")
        print(f"jax-sif: wrote {path}", file=sys.stderr)
    return PASS


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="jax-sif report",
        description="Shows verdicts, and writes them for people and programs. Without"
        " an option it writes a page beside the first file: job.json, job.html.",
        epilog="Exit status: 0 the report was made, whatever the verdict says; 2 wrong"
        " usage; 3 there is no verdict. The verdict's own status is jax-sif verify's.",
    )
    parser.add_argument(
        "verdicts",
        nargs="+",
        type=Path,
        metavar="JOB.json",
        help="what jax-sif verify --json wrote",
    )
    parser.add_argument("--text", action="store_true", help="the text alone")
    add = parser.add_argument
    add("--html", type=Path, metavar="FILE", help="one page that needs no network")
    add("--junit", type=Path, metavar="FILE", help="JUnit XML, for GitLab and Jenkins")
    add("--csv", type=Path, metavar="FILE", help="every sample, a row for each")
    add("--prometheus", type=Path, metavar="FILE", help="for node_exporter: NAME.prom")
    return parser


def _files(chosen: argparse.Namespace) -> list[tuple[str, Path]]:
    """The kind and path of every file to write."""
    kinds = ("html", "junit", "csv", "prometheus")
    asked = [(kind, getattr(chosen, kind)) for kind in kinds]
    asked = [(kind, path) for kind, path in asked if path is not None]
    if asked or chosen.text:
        return asked
    return [("html", chosen.verdicts[0].with_suffix(".html"))]


def _content(kind: str, verdicts: Sequence[Verdict]) -> str:
    """The text of one file. Each format is imported only where it is asked for."""
    if kind == "junit":
        from jaxsif.report.junit import as_junit

        return as_junit(verdicts)
    if kind == "csv":
        from jaxsif.report.samples import as_csv

        return as_csv(verdicts)
    if kind == "prometheus":
        from jaxsif.report.prometheus import as_prometheus

        return as_prometheus(verdicts)
    return _page(verdicts)


def _page(verdicts: Sequence[Verdict]) -> str:
    from jaxsif.html import plotly
    from jaxsif.report.page import as_html

    library = plotly.plotly_js()
    if library is None:
        print(f"jax-sif: {plotly.MISSING}", file=sys.stderr)
    return as_html(verdicts, library)
