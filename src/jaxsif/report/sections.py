"""The sections of the page: heading, chart if there is one, table."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Iterator, Sequence

from jaxsif.core.errors import FAIL, PASS
from jaxsif.core.evidence import WARN_RATIO, Finding
from jaxsif.core.records import BandwidthRecord, PairRecord
from jaxsif.core.text import (
    format_gb_per_s,
    format_ranges,
    format_seconds,
    format_significant,
    format_size,
    format_time,
    listed,
    plural,
)
from jaxsif.core.verdict_file import BandwidthFigure, NodePair, NodePairs, StepVerdict
from jaxsif.html.markup import (
    Markup,
    SectionBuilder,
    details,
    download_link,
    join,
    table,
    tag,
    verdict_header,
)
from jaxsif.report.charts import bandwidth_chart, pair_map_chart, timeline_chart
from jaxsif.report.csv_export import as_csv
from jaxsif.report.data import (
    RankTimeline,
    headlines,
    heat_map,
    named_by,
    properties,
    select_ranks,
    startup_breakdown,
    unknown_times,
)
from jaxsif.report.text import pair_row

_MAX_PAIRS = 100
_MAX_SLOW = 5
_MAX_BARS = 48
# Tables with more rows are offered as a download only.
_MAX_ROWS = 1500
# Maximum size of the samples in a page, as text and compressed.
_MAX_PLAIN_BYTES = 1 << 19
_MAX_COMPRESSED_BYTES = 8 << 20


def head(
    frame: SectionBuilder, verdict: StepVerdict, timelines: Sequence[RankTimeline]
) -> Markup:
    """The verdict and the main figures."""
    start_s = verdict.start_time_s
    moment = f", {format_time(start_s)}" if start_s is not None else ""
    label = tag("strong", verdict.topology.label)
    return verdict_header(
        frame.prefix,
        verdict.status,
        verdict.verdict,
        sign={PASS: "✓", FAIL: "✗"}.get(verdict.status, "?"),
        subject=join(label, f", step {verdict.name}{moment}"),
        summary=verdict.summary,
        tiles=_main_figures(verdict, timelines),
    )


def _main_figures(
    verdict: StepVerdict, timelines: Sequence[RankTimeline]
) -> Iterator[tuple[str, str]]:
    done = sum(rank.is_done for rank in verdict.ranks)
    yield "ranks that finished", f"{done} of {verdict.topology.processes}"
    yield "nodes", str(len({rank.node for rank in verdict.ranks}))
    for point in headlines(verdict.bandwidth)[:1]:
        part = f" ({point.ratio:.2f} of expected)" if point.ratio else ""
        name = f"{point.collective} bus bandwidth at {format_size(point.size_bytes)}"
        yield name, f"{format_gb_per_s(point.bus_gb_per_s)}{part}"
    if verdict.pairs is not None:
        yield from _slowest_pair(verdict.pairs.pairs)
    ends = [timeline.end_s for timeline in timelines if timeline.intervals]
    if ends:
        yield "last rank ended after", format_seconds(max(ends))


def _slowest_pair(pairs: Sequence[NodePair]) -> Iterator[tuple[str, str]]:
    """The slowest pair, relative to the median if there are several."""
    for pair in pairs[:1]:
        speed = pair.gb_per_s
        text = "timed out" if speed is None else format_gb_per_s(speed)
        if pair.ratio is not None and len(pairs) > 1:
            text += f" ({pair.ratio:.2f} of median)"
        yield f"slowest pair, {pair.name}", text


def findings(frame: SectionBuilder, verdict: StepVerdict) -> Markup:
    """The findings with their remedies, the first cause first."""
    if not verdict.findings:
        text = "No problems found." if verdict.status == PASS else "No finding."
        return frame.section("findings", "Findings", tag("p", text))
    items = [_finding(finding, verdict) for finding in verdict.findings]
    return frame.section("findings", "Findings", tag("ol", *items, class_="findings"))


def _finding(finding: Finding, verdict: StepVerdict) -> Markup:
    kind = "warning" if finding.is_warning else "failure"
    names = named_by(finding, verdict)
    return tag(
        "li",
        tag("p", tag("span", kind, class_="kind"), " ", finding.text, class_="what"),
        *(tag("p", "→ ", line, class_="remedy") for line in finding.actions),
        tag("p", "names ", tag("strong", names), class_="names") if names else None,
        class_=kind,
    )


def bandwidth(frame: SectionBuilder, found: Sequence[BandwidthFigure]) -> Markup | None:
    """The bandwidths; None if none was measured."""
    if not found:
        return None
    head = ("collective", "type", "size", "time, us", "algbw, GB/s", "busbw, GB/s")
    more = ("of expected", "slowest rank", "its busbw, GB/s", "wrong elements")
    rows = [_point_row(point) for point in found]
    text = tag(
        "p",
        "The mean of the ranks, the median of the trials; the pale band reaches from"
        " the slowest rank to the fastest. Bus bandwidth as defined by nccl-tests; 1 GB"
        f" is 1e9 bytes. {_expectation_text(found)}",
    )
    return frame.section(
        "bandwidth",
        "Bandwidth",
        text,
        # One device alone has no bus bandwidth.
        frame.chart("bandwidth", bandwidth_chart(found))
        if any(figure.bus_gb_per_s > 0 for figure in found)
        else None,
        details("All sizes as a table", table(head + more, rows, label="Bandwidth")),
    )


def _expectation_text(found: Sequence[BandwidthFigure]) -> str:
    """The sources of the expected values."""
    expected = [f for f in found if f.expected_bus_gb_per_s is not None]
    sources = sorted({figure.source for figure in expected} - {""})
    if sources:
        return f"Source of the expected values: {'; '.join(sources)}."
    return "" if expected else "No expected value is known for this hardware."


def _point_row(point: BandwidthFigure) -> tuple[object, ...]:
    return (
        point.collective,
        point.dtype,
        format_size(point.size_bytes),
        format_significant(point.time_us),
        format_significant(point.alg_gb_per_s),
        format_significant(point.bus_gb_per_s),
        "-" if point.ratio is None else f"{point.ratio:.2f}",
        f"{point.slowest_rank} on {point.slowest_node}",
        format_significant(point.slowest_bus_gb_per_s),
        point.wrong,
    )


def pairs(frame: SectionBuilder, verdict: StepVerdict) -> Markup | None:
    """The pairs of nodes; None if none was measured."""
    found = verdict.pairs
    if found is None or not found.pairs:
        return None
    if len(found.nodes) < 3:
        return _only_pair(frame, found.pairs[0])
    square = heat_map(found)
    text = tag("p", _legend(found, square.nodes_per_cell))
    head = ("pair of nodes", "GB/s", "of median", "wrong elements")
    rows = [pair_row(pair) for pair in found.pairs[:_MAX_PAIRS]]
    label = "Pairs of nodes, the slowest first"
    return frame.section(
        "pairs",
        "Pairs of nodes",
        text,
        _slowest_nodes(found),
        frame.chart("map", pair_map_chart(square, set(verdict.named_ranks.values()))),
        details(
            f"The slowest {len(rows)} pairs as a table",
            table(head, rows, label=label),
        ),
    )


def _only_pair(frame: SectionBuilder, pair: NodePair) -> Markup:
    """The only pair of two nodes."""
    speed = "timed out" if pair.gb_per_s is None else format_gb_per_s(pair.gb_per_s)
    wrong = f", {pair.wrong:,} wrong elements" if pair.wrong else ""
    text = (
        f"{pair.name}: {speed} at {format_size(pair.size_bytes)}{wrong}; two nodes are"
        " a single pair, and there is nothing to compare it with."
    )
    return frame.section("pairs", "Pairs of nodes", tag("p", text))


def _slowest_nodes(found: NodePairs) -> Markup:
    """The slowest pairs and nodes as text."""
    slow = [p for p in found.pairs if p.timed_out or (p.ratio or 0) < WARN_RATIO]
    if not slow:
        return tag("p", f"No pair is slower than {WARN_RATIO:.2f} of the median.")
    counts = Counter(node for pair in slow for node in pair.nodes)
    most = [
        f"{node} with {count} of its {len(found.of_node(node))} partners"
        for node, count in counts.most_common(_MAX_SLOW)
        if count > len(found.of_node(node)) / 2
    ]
    nodes = f" Slow with most partners: {'; '.join(most)}." if most else ""
    named = listed(map(_pair_speed, slow), _MAX_SLOW, between="; ")
    return tag(
        "p",
        tag("strong", f"Below {WARN_RATIO:.2f} of the median: "),
        f"{named}.",
        tag("strong", nodes) if nodes else None,
    )


def _legend(found: NodePairs, nodes_per_cell: int) -> str:
    """How to read the map."""
    pairs, nodes = len(found.pairs), len(found.nodes)
    middle = found.median_gb_per_s
    typical = f" The median is {format_gb_per_s(middle)}." if middle else ""
    groups = (
        f" Each cell is the slowest pair of two groups of {nodes_per_cell} nodes."
        if nodes_per_cell > 1
        else ""
    )
    kinds = (
        " Pairs below one switch are compared with each other, and so are pairs across."
        if len({node.switch for node in found.nodes}) > 1
        else ""
    )
    return (
        f"{plural(pairs, 'pair')} of {plural(nodes, 'node')}, sorted by switch if"
        f" known.{typical}{kinds} Slow pairs are orange; a cross marks a timeout or"
        f" wrong elements; pairs without a colour were not measured.{groups}"
    )


def _pair_speed(pair: NodePair) -> str:
    if pair.ratio is None:
        return f"{pair.name} timed out"
    return f"{pair.name} {pair.ratio:.2f}"


def timeline(
    frame: SectionBuilder, verdict: StepVerdict, timelines: Sequence[RankTimeline]
) -> Markup | None:
    """The timelines; None if no rank reported anything."""
    shown = [timeline for timeline in timelines if timeline.intervals]
    if not shown:
        return None
    named_ranks = set(verdict.named_ranks)
    drawn = select_ranks(shown, named_ranks, _MAX_BARS)
    part = (
        f" Of {len(shown):,} ranks, {len(drawn)} are shown: those named by findings,"
        " then the last to end."
        if len(drawn) < len(shown)
        else ""
    )
    text = tag(
        "p",
        "Each bar is a rank, divided into its phases. Times are relative to the first"
        f" record of each node; ✗ marks ranks named by findings.{part}",
    )
    never = _missing_ranks(verdict)
    return frame.section(
        "timeline",
        "Timeline of the ranks",
        text,
        tag("p", tag("strong", never)) if never else None,
        frame.chart("timeline", timeline_chart(drawn, named_ranks)),
        details("As a table", _timelines_table(drawn)),
    )


def _missing_ranks(verdict: StepVerdict) -> str:
    """The ranks without records; empty if there are none."""
    reported = {rank.rank for rank in verdict.ranks}
    missing = set(range(verdict.topology.processes)) - reported
    count = plural(len(missing), "rank")
    return f"{count} never reported: {format_ranges(missing)}." if missing else ""


def startup(
    frame: SectionBuilder, verdict: StepVerdict, timelines: Sequence[RankTimeline]
) -> Markup | None:
    """The breakdown of the time, and what is unknown."""
    parts = startup_breakdown(timelines)
    if not parts:
        return None
    longest_s = max(part.longest_s for part in parts)
    rows = [
        (
            part.label,
            format_significant(part.median_s),
            format_significant(part.longest_s),
            _bar(part.median_s, part.longest_s, longest_s),
            f"{part.slowest.rank} on {part.slowest.node}",
            part.ranks,
        )
        for part in parts
    ]
    head = ("interval", "median, s", "longest, s", "", "longest on rank", "ranks")
    notes = tag("ul", *(tag("li", note) for note in unknown_times(verdict)))
    return frame.section(
        "start",
        "Where the time went",
        table(head, rows, label="Intervals from the process's start to its end"),
        tag("p", "Unknown:"),
        notes,
    )


def _bar(median_s: float, longest_s: float, most_s: float) -> Markup:
    """The median as a bar, the longest time as a thin line."""
    scale = 100 / most_s if most_s > 0 else 0
    return tag(
        "span",
        tag("span", class_="longest", style=f"width:{longest_s * scale:.1f}%"),
        tag("span", class_="median", style=f"width:{median_s * scale:.1f}%"),
        class_="bar",
        aria_hidden="true",
    )


def _timelines_table(found: Sequence[RankTimeline]) -> Markup:
    rows = [
        (
            timeline.rank.rank,
            timeline.rank.node,
            s.label,
            f"{s.begin_s:.3f}",
            f"{s.length_s:.3f}",
        )
        for timeline in found
        for s in timeline.intervals
    ]
    head = ("rank", "node", "interval", "from, s", "length, s")
    return table(head, rows, label="Intervals of each rank")


def environment(frame: SectionBuilder, verdict: StepVerdict) -> Markup:
    """Hardware and software of the ranks."""
    rows = [
        (found.name, found.value, found.location or "all")
        for found in properties(verdict)
    ]
    topology = verdict.topology
    requested = (
        f"{topology.label}: {plural(topology.devices, 'device')},"
        f" {plural(topology.nodes, 'node')},"
        f" {plural(topology.processes, 'process', 'es')}"
    )
    rows.insert(0, ("topology requested", requested, "all"))
    return frame.section(
        "environment",
        "Environment",
        table(("", "value", "where"), rows, label="Environment"),
    )


def ranks(frame: SectionBuilder, verdict: StepVerdict) -> Markup | None:
    """All ranks and their last phases."""
    if not verdict.ranks:
        return None
    named_ranks = verdict.named_ranks
    rows = [
        (r.rank, r.node, r.phase, "named by a finding" if r.rank in named_ranks else "")
        for r in verdict.ranks
    ]
    head = ("rank", "node", "last phase", "")
    title = f"{plural(len(verdict.ranks), 'rank')} and their last phases"
    return frame.section(
        "ranks", "Ranks", details(title, table(head, rows, label="Ranks"))
    )


def samples(frame: SectionBuilder, verdict: StepVerdict) -> Markup:
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
    if len(content) > _MAX_PLAIN_BYTES:
        # Without a timestamp, so that the page is reproducible.
        content = gzip.compress(content, mtime=0)
        name, kind = f"{name}.gz", "application/gzip"
    if len(content) > _MAX_COMPRESSED_BYTES:
        return tag(
            "p",
            f"The samples have {rows}, too many for a page; write them with"
            " jax-sif report --csv FILE.",
        )
    title = f"{rows} as {name.partition('.')[2].upper()}"
    link = download_link(title, f"{label}-{name}", kind, content)
    return tag("p", "All measured times, one per row: ", link, ".")


def _sample_table(name: str, samples: Sequence[Sequence[object]]) -> Markup | None:
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


def _bandwidth_samples(verdict: StepVerdict) -> Sequence[Sequence[object]]:
    rows = [
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


def _pair_samples(verdict: StepVerdict) -> Sequence[Sequence[object]]:
    rows = [
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
