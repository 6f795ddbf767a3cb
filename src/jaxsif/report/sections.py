"""The parts of the page: each is a heading, a chart where there is one, and its table; pure."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import base64
import gzip
from collections import Counter
from collections.abc import Iterator, Sequence

from jaxsif.contract.errors import PASS
from jaxsif.report import charts, words
from jaxsif.report.bandwidth import Point, headlines, points
from jaxsif.report.charts import Chart
from jaxsif.report.document import Finding, Verdict
from jaxsif.report.environment import environment
from jaxsif.report.markup import Markup, as_script_data, join, table, tag
from jaxsif.report.measured import Bandwidth, Pair, told
from jaxsif.report.pairs import NodePair, NodePairs, cells, node_pairs
from jaxsif.report.phases import Life, budget, chosen, lives, unknown
from jaxsif.report.samples import as_csv
from jaxsif.report.terminal import pair_row

# More rows than this are a download, not a table.
_MOST_ROWS = 1500
# What of the samples a page carries, as text and packed.
_MOST_PLAIN_BYTES = 1 << 19
_MOST_PACKED_BYTES = 8 << 20
_MOST_BARS = 48
_MOST_PAIRS = 100
_MOST_SLOW = 5


class Sections:
    """The sections of one verdict. `prefix` keeps their ids apart from another's."""

    def __init__(self, verdict: Verdict, prefix: str, *, has_charts: bool) -> None:
        self._verdict = verdict
        self._prefix = prefix
        self._has_charts = has_charts
        self._points = points(verdict)
        self._pairs = node_pairs(verdict)
        self._lives = lives(verdict)

    def all(self) -> Markup:
        """Everything, the verdict first."""
        return tag(
            "article",
            self._head(),
            self._findings(),
            self._bandwidth(),
            self._pair_map(),
            self._timeline(),
            self._budget(),
            self._environment(),
            self._ranks(),
            self._samples(),
            id=self._prefix,
            aria_labelledby=f"{self._prefix}-verdict",
        )

    def _head(self) -> Markup:
        verdict = self._verdict
        sign = {"PASS": "✓", "FAIL": "✗"}.get(verdict.verdict, "?")
        when = verdict.began_s
        title = tag(
            "h1",
            tag("span", sign, class_="sign", aria_hidden="true"),
            f" {verdict.verdict}",
            id=f"{self._prefix}-verdict",
        )
        moment = f", {words.moment(when)}" if when is not None else ""
        where = tag(
            "p",
            tag("strong", verdict.topology.label),
            f", step {verdict.name}{moment}",
            class_="where",
        )
        return tag(
            "header",
            title,
            where,
            tag("p", verdict.summary, class_="summary"),
            self._tiles(),
            class_=f"verdict status-{verdict.status}",
        )

    def _tiles(self) -> Markup:
        tiles = [
            tag("div", tag("dt", name), tag("dd", value))
            for name, value in self._figures()
        ]
        return tag("dl", *tiles, class_="tiles")

    def _figures(self) -> Iterator[tuple[str, str]]:
        verdict = self._verdict
        done = sum("done" in rank.told for rank in verdict.ranks)
        yield "ranks that came to their end", f"{done} of {verdict.topology.processes}"
        yield "nodes", str(len({rank.node for rank in verdict.ranks}))
        for point in headlines(self._points)[:1]:
            part = (
                f" ({point.of_expected:.2f} of expected)" if point.of_expected else ""
            )
            size = words.size(point.size_bytes)
            name = f"{point.collective} bus bandwidth at {size}"
            yield name, f"{words.gb_per_s(point.bus_gb_per_s)}{part}"
        for pair in self._pairs.pairs[:1]:
            part = (
                f" ({pair.of_median:.2f} of median)"
                if pair.of_median and len(self._pairs.pairs) > 1
                else ""
            )
            speed = (
                "timed out" if pair.gb_per_s is None else words.gb_per_s(pair.gb_per_s)
            )
            yield f"slowest pair, {pair.name}", f"{speed}{part}"
        if self._lives and any(life.stretches for life in self._lives):
            yield (
                "last rank ended after",
                words.seconds(max(x.end_s for x in self._lives)),
            )

    def _findings(self) -> Markup:
        verdict = self._verdict
        if not verdict.findings:
            text = "Nothing is wrong." if verdict.status == PASS else "No finding."
            return self._section("findings", "Findings", tag("p", text))
        items = [self._finding(finding) for finding in verdict.findings]
        return self._section(
            "findings", "Findings", tag("ol", *items, class_="findings")
        )

    def _finding(self, finding: Finding) -> Markup:
        kind = "warning" if finding.is_warning else "failure"
        names = words.where(finding.ranks, self._verdict.accused)
        return tag(
            "li",
            tag(
                "p", tag("span", kind, class_="kind"), " ", finding.text, class_="what"
            ),
            *(tag("p", "→ ", line, class_="remedy") for line in _remedies(finding)),
            tag("p", "names ", tag("strong", names), class_="names") if names else None,
            class_=kind,
        )

    def _bandwidth(self) -> Markup | None:
        if not self._points:
            return None
        head = ("collective", "type", "size", "time, us", "algbw, GB/s", "busbw, GB/s")
        more = ("of expected", "slowest rank", "its busbw, GB/s", "wrong elements")
        rows = [_point_row(point) for point in self._points]
        sources = {
            p.expected.source for p in self._points if p.expected and p.expected.source
        }
        note = (
            f" Expected by: {'; '.join(sorted(sources))}."
            if sources
            else (
                " No value was expected: jax-sif knows none for this hardware."
                if not any(p.expected for p in self._points)
                else ""
            )
        )
        text = tag(
            "p",
            "The mean of the ranks, the median of the trials; the pale band reaches from the slowest rank"
            f" to the fastest. Bus bandwidth as nccl-tests defines it, GB are 1e9 bytes.{note}",
        )
        return self._section(
            "bandwidth",
            "Bandwidth",
            text,
            self._chart("bandwidth", charts.bandwidth(self._points)),
            _folded(
                "All sizes as a table", table(head + more, rows, label="Bandwidth")
            ),
        )

    def _pair_map(self) -> Markup | None:
        found = self._pairs
        if not found.pairs:
            return None
        if len(found.nodes) < 3:
            return self._only_pair(found.pairs[0])
        square = cells(found)
        groups = (
            f" Each cell holds the slowest pair of two groups of {square.nodes_per_cell} nodes."
            if square.nodes_per_cell > 1
            else ""
        )
        middle = found.median_gb_per_s
        typical = f" The median pair has {words.gb_per_s(middle)}." if middle else ""
        text = tag(
            "p",
            f"{words.plural(len(found.pairs), 'pair')} of {words.plural(len(found.nodes), 'node')},"
            f" in the order of switches where they are known.{typical} Slow pairs are orange;"
            f" a cross marks a time-out or wrong elements; blank was not measured.{groups}",
        )
        head = ("pair of nodes", "GB/s", "of median", "wrong elements")
        rows: list[tuple[object, ...]] = [
            pair_row(p) for p in found.pairs[:_MOST_PAIRS]
        ]
        label = "Pairs of nodes, the slowest first"
        return self._section(
            "pairs",
            "Pairs of nodes",
            text,
            self._slowest_nodes(found),
            self._chart(
                "map", charts.pair_map(square, set(self._verdict.accused.values()))
            ),
            _folded(
                f"The slowest {len(rows)} pairs as a table",
                table(head, rows, label=label),
            ),
        )

    def _only_pair(self, pair: NodePair) -> Markup:
        """Two nodes: nothing to compare their one pair with."""
        speed = "timed out" if pair.gb_per_s is None else words.gb_per_s(pair.gb_per_s)
        wrong = f", {pair.wrong:,} wrong elements" if pair.wrong else ""
        text = (
            f"{pair.name}: {speed} at {words.size(pair.size_bytes)}{wrong}; two nodes are"
            " one pair, with which nothing can be compared."
        )
        return self._section("pairs", "Pairs of nodes", tag("p", text))

    def _slowest_nodes(self, found: NodePairs) -> Markup | None:
        """In words, what the colours show."""
        slow = [
            p for p in found.pairs if p.timed_out or (p.of_median or 0) < charts.PASS_AT
        ]
        if not slow:
            return tag("p", "No pair is slower than 0.85 of the median.")
        counts = Counter(node for pair in slow for node in pair.nodes)
        most = [
            f"{node} with {count} of its {len(found.of_node(node))} partners"
            for node, count in counts.most_common(_MOST_SLOW)
            if count > len(found.of_node(node)) / 2
        ]
        nodes = f" Slow with most partners: {'; '.join(most)}." if most else ""
        named = "; ".join(map(_slow_words, slow[:_MOST_SLOW]))
        more = (
            f"; and {len(slow) - _MOST_SLOW:,} more" if len(slow) > _MOST_SLOW else ""
        )
        return tag(
            "p",
            tag("strong", "Below 0.85 of the median: "),
            f"{named}{more}.",
            tag("strong", nodes) if nodes else None,
        )

    def _timeline(self) -> Markup | None:
        shown = [life for life in self._lives if life.stretches]
        if not shown:
            return None
        accused = set(self._verdict.accused)
        drawn = chosen(shown, sorted(accused), _MOST_BARS)
        part = (
            f" Of {len(shown):,} ranks the {len(drawn)} that findings name or that ended last."
            if len(drawn) < len(shown)
            else ""
        )
        text = tag(
            "p",
            "Each bar is a rank, cut where it told a phase. Every node counts by its own"
            f" clock, from the first that its ranks told; ✗ marks ranks that findings name.{part}",
        )
        never = self._never_came()
        return self._section(
            "timeline",
            "What each rank did when",
            text,
            tag("p", tag("strong", never)) if never else None,
            self._chart("life", charts.timeline(drawn, accused)),
            _folded("As a table", _lives_table(drawn)),
        )

    def _never_came(self) -> str:
        told = {rank.rank for rank in self._verdict.ranks}
        missing = set(range(self._verdict.topology.processes)) - told
        few = words.plural(len(missing), "rank")
        return f"{few} never reported: {words.spans(missing)}." if missing else ""

    def _budget(self) -> Markup | None:
        parts = budget(self._lives)
        if not parts:
            return None
        longest_s = max(part.longest_s for part in parts)
        rows: list[tuple[object, ...]] = [
            (
                part.word,
                words.significant(part.median_s),
                words.significant(part.longest_s),
                _bar(part.median_s, part.longest_s, longest_s),
                f"{part.slowest.rank} on {part.slowest.node}",
                part.ranks,
            )
            for part in parts
        ]
        head = ("stretch", "median, s", "longest, s", "", "longest on rank", "ranks")
        notes = tag("ul", *(tag("li", note) for note in unknown(self._verdict)))
        return self._section(
            "start",
            "Where the time went",
            table(head, rows, label="Stretches from the process's start to its end"),
            tag("p", "Not known:"),
            notes,
        )

    def _environment(self) -> Markup:
        rows: list[tuple[object, ...]] = [
            (fact.name, fact.value, fact.holders or "all")
            for fact in environment(self._verdict)
        ]
        topology = self._verdict.topology
        asked = (
            f"{topology.label}: {words.plural(topology.devices, 'device')},"
            f" {words.plural(topology.nodes, 'node')},"
            f" {words.plural(topology.processes, 'process', 'es')}"
        )
        rows.insert(0, ("topology asked for", asked, "all"))
        return self._section(
            "environment",
            "Environment",
            table(("", "value", "where"), rows, label="Environment"),
        )

    def _ranks(self) -> Markup | None:
        ranks = self._verdict.ranks
        if not ranks:
            return None
        accused = self._verdict.accused
        rows: list[tuple[object, ...]] = [
            (r.rank, r.node, r.phase, "named by a finding" if r.rank in accused else "")
            for r in ranks
        ]
        head = ("rank", "node", "phase reached", "")
        title = f"{words.plural(len(ranks), 'rank')}, and the phase that each reached"
        return self._section(
            "ranks", "Ranks", _folded(title, table(head, rows, label="Ranks"))
        )

    def _samples(self) -> Markup:
        return self._section(
            "samples",
            "Every sample",
            self._download(as_csv([self._verdict])),
            self._sample_table("bandwidth", _bandwidth_samples(self._verdict)),
            self._sample_table("pairs", _pair_samples(self._verdict)),
        )

    def _download(self, text: str) -> Markup:
        """The samples inside the page; packed, and left out, where they are many."""
        rows = words.plural(text.count("\n") - 1, "row")
        name, kind, content = "samples.csv", "text/csv", text.encode()
        if len(content) > _MOST_PLAIN_BYTES:
            # No time in it, so that the same verdict gives the same page.
            content = gzip.compress(content, mtime=0)
            name, kind = f"{name}.gz", "application/gzip"
        if len(content) > _MOST_PACKED_BYTES:
            return tag(
                "p",
                f"All times behind the figures are {rows}, too many for a page;"
                " jax-sif report --csv FILE writes them.",
            )
        encoded = base64.b64encode(content).decode()
        link = tag(
            "a",
            f"{rows} as {name.partition('.')[2].upper()}",
            href=f"data:{kind};base64,{encoded}",
            download=f"{self._verdict.topology.label}-{name}",
        )
        return tag("p", "All times behind the figures, a row for each: ", link, ".")

    def _sample_table(
        self, name: str, samples: list[tuple[object, ...]]
    ) -> Markup | None:
        if not samples:
            return None
        head, *rows = samples
        if len(rows) > _MOST_ROWS:
            return tag(
                "p", f"{name}: {len(rows):,} rows are too many for a table here."
            )
        columns = tuple(map(str, head))
        return _folded(
            f"{name}: {words.plural(len(rows), 'row')}",
            table(columns, rows, label=name),
        )

    def _section(self, name: str, title: str, *children: object) -> Markup:
        identifier = f"{self._prefix}-{name}"
        return tag("section", tag("h2", title), *children, id=identifier)

    def _chart(self, name: str, chart: Chart) -> Markup | None:
        if not self._has_charts:
            return None
        identifier = f"{self._prefix}-{name}-data"
        spec = as_script_data({"data": chart.data, "layout": chart.layout})
        style = f"min-height:{chart.layout['height']}px"
        if chart.widest_px is not None:
            style += f";max-width:{chart.widest_px}px"
        return tag(
            "figure",
            tag(
                "div",
                class_="plot",
                role="img",
                aria_label=chart.words,
                data_spec=identifier,
                style=style,
            ),
            tag("script", spec, type="application/json", id=identifier),
        )


def _remedies(finding: Finding) -> list[str]:
    """A remedy has a line for everything that is to be done."""
    lines = finding.remedy.splitlines()
    return [line.strip().removeprefix("-> ") for line in lines]


def _folded(title: str, content: Markup) -> Markup:
    return tag("details", tag("summary", title), content)


def _point_row(point: Point) -> tuple[object, ...]:
    part = point.of_expected
    return (
        point.collective,
        point.dtype,
        words.size(point.size_bytes),
        words.significant(point.time_us),
        words.significant(point.alg_gb_per_s),
        words.significant(point.bus_gb_per_s),
        "-" if part is None else f"{part:.2f}",
        f"{point.slowest.rank} on {point.slowest.node}",
        words.significant(point.bus_range_gb_per_s[0]),
        point.wrong,
    )


def _slow_words(pair: NodePair) -> str:
    if pair.of_median is None:
        return f"{pair.name} timed out"
    return f"{pair.name} {pair.of_median:.2f}"


def _bar(median_s: float, longest_s: float, most_s: float) -> Markup:
    """The median as a bar, the longest as a thin line behind it."""
    scale = 100 / most_s if most_s > 0 else 0
    return tag(
        "span",
        tag("span", class_="longest", style=f"width:{longest_s * scale:.1f}%"),
        tag("span", class_="median", style=f"width:{median_s * scale:.1f}%"),
        class_="bar",
        aria_hidden="true",
    )


def _lives_table(found: Sequence[Life]) -> Markup:
    rows: list[tuple[object, ...]] = [
        (
            life.rank.rank,
            life.rank.node,
            s.word,
            f"{s.begin_s:.3f}",
            f"{s.length_s:.3f}",
        )
        for life in found
        for s in life.stretches
    ]
    head = ("rank", "node", "stretch", "from, s", "length, s")
    return table(head, rows, label="Stretches of each rank")


def _bandwidth_samples(verdict: Verdict) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = [
        (
            rank.rank,
            rank.node,
            f"{result.collective} {result.dtype}",
            words.size(result.size_bytes),
            join(*(words.significant(t) for t in result.times_us), between=" "),
            "-" if result.compile_s is None else words.significant(result.compile_s),
            result.wrong,
        )
        for rank, result in told(verdict, "bandwidth", Bandwidth)
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


def _pair_samples(verdict: Verdict) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = [
        (
            rank.rank,
            rank.node,
            f"{pair.partner} on {pair.partner_node}",
            f"{pair.round} {pair.kind}",
            words.size(pair.size_bytes),
            join(*(words.significant(t) for t in pair.times_us), between=" ")
            or ("timed out" if pair.timed_out else "-"),
            pair.wrong,
        )
        for rank, pair in told(verdict, "pair", Pair)
    ]
    head = ("rank", "node", "partner", "round", "size", "times, us", "wrong")
    return [head, *rows] if rows else []
