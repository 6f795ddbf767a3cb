"""The section with all samples."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import gzip

from jaxsif.core.records import BandwidthRecord, PairRecord
from jaxsif.core.text import format_significant, format_size, plural
from jaxsif.core.verdict_file import StepVerdict
from jaxsif.html.markup import (
    Markup,
    SectionBuilder,
    details,
    download_link,
    join,
    table,
    tag,
)
from jaxsif.report.samples import as_csv

# Tables with more rows are offered as a download only.
_MAX_ROWS = 1500
# Maximum size of the samples in a page, as text and compressed.
_MOST_PLAIN_BYTES = 1 << 19
_MOST_PACKED_BYTES = 8 << 20


def section(frame: SectionBuilder, verdict: StepVerdict) -> Markup:
    """All measurements as tables and CSV."""
    return frame.section(
        "samples",
        "All samples",
        _download(as_csv([verdict]), verdict.topology.label),
        _sample_table("bandwidth", _bandwidth_samples(verdict)),
        _sample_table("pairs", _pair_samples(verdict)),
    )


def _download(text: str, label: str) -> Markup:
    """A link to the embedded samples; compressed if many, omitted if too many."""
    rows = plural(text.count("\n") - 1, "row")
    name, kind, content = "samples.csv", "text/csv", text.encode()
    if len(content) > _MOST_PLAIN_BYTES:
        # Without a timestamp, so that the page is reproducible.
        content = gzip.compress(content, mtime=0)
        name, kind = f"{name}.gz", "application/gzip"
    if len(content) > _MOST_PACKED_BYTES:
        return tag(
            "p",
            f"The samples have {rows}, too many for a page; write them with"
            " jax-sif report --csv FILE.",
        )
    title = f"{rows} as {name.partition('.')[2].upper()}"
    link = download_link(title, f"{label}-{name}", kind, content)
    return tag("p", "All measured times, one per row: ", link, ".")


def _sample_table(name: str, samples: list[tuple[object, ...]]) -> Markup | None:
    if not samples:
        return None
    head, *rows = samples
    if len(rows) > _MAX_ROWS:
        return tag("p", f"{name}: {len(rows):,} rows, too many for a table.")
    columns = tuple(map(str, head))
    return details(
        f"{name}: {plural(len(rows), 'row')}",
        table(columns, rows, label=name),
    )


def _bandwidth_samples(verdict: StepVerdict) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = [
        (
            rank.rank,
            rank.node,
            f"{result.collective} {result.dtype}",
            format_size(result.size_bytes),
            join(*(format_significant(t) for t in result.times_us), between=" "),
            format_significant(result.compile_s),
            result.wrong_elements,
        )
        for rank, result in verdict.measured(BandwidthRecord)
    ]
    head = (
        "rank",
        "node",
        "collective",
        "size",
        "times, us",
        "compiled in, s",
        "wrong",
    )
    return [head, *rows] if rows else []


def _pair_samples(verdict: StepVerdict) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = [
        (
            rank.rank,
            rank.node,
            f"{pair.partner} on {pair.partner_node}",
            f"{pair.round} {pair.kind}",
            format_size(pair.size_bytes),
            join(*(format_significant(t) for t in pair.times_us), between=" ")
            or ("timed out" if pair.timed_out else "-"),
            pair.wrong_elements,
        )
        for rank, pair in verdict.measured(PairRecord)
    ]
    head = ("rank", "node", "partner", "round", "size", "times, us", "wrong")
    return [head, *rows] if rows else []
