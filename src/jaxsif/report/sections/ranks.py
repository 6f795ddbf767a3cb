"""The page's parts on the ranks and on what they ran with; pure."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from jaxsif.html.frame import SectionBuilder, details
from jaxsif.html.markup import Markup, table
from jaxsif.report import words
from jaxsif.report.document import Verdict
from jaxsif.report.environment import environment


def host_info(frame: SectionBuilder, verdict: Verdict) -> Markup:
    """What the ranks ran on and with."""
    rows: list[tuple[object, ...]] = [
        (fact.name, fact.value, fact.holders or "all") for fact in environment(verdict)
    ]
    topology = verdict.topology
    asked = (
        f"{topology.label}: {words.plural(topology.devices, 'device')},"
        f" {words.plural(topology.nodes, 'node')},"
        f" {words.plural(topology.processes, 'process', 'es')}"
    )
    rows.insert(0, ("topology asked for", asked, "all"))
    return frame.section(
        "environment",
        "Environment",
        table(("", "value", "where"), rows, label="Environment"),
    )


def ranks(frame: SectionBuilder, verdict: Verdict) -> Markup | None:
    """All ranks, and how far each came."""
    if not verdict.ranks:
        return None
    slow_nodes = verdict.slow_nodes
    rows: list[tuple[object, ...]] = [
        (r.rank, r.node, r.phase, "named by a finding" if r.rank in slow_nodes else "")
        for r in verdict.ranks
    ]
    head = ("rank", "node", "last phase", "")
    title = (
        f"{words.plural(len(verdict.ranks), 'rank')}, and the phase that each reached"
    )
    return frame.section(
        "ranks", "Ranks", details(title, table(head, rows, label="Ranks"))
    )
