"""The sections on the ranks and their environment."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from jaxsif.core.text import plural
from jaxsif.core.verdict_file import StepVerdict
from jaxsif.html.markup import Markup, SectionBuilder, details, table
from jaxsif.report.environment import environment


def host_info(frame: SectionBuilder, verdict: StepVerdict) -> Markup:
    """Hardware and software of the ranks."""
    rows: list[tuple[object, ...]] = [
        (fact.name, fact.value, fact.holders or "all") for fact in environment(verdict)
    ]
    topology = verdict.topology
    asked = (
        f"{topology.label}: {plural(topology.devices, 'device')},"
        f" {plural(topology.nodes, 'node')},"
        f" {plural(topology.processes, 'process', 'es')}"
    )
    rows.insert(0, ("topology requested", asked, "all"))
    return frame.section(
        "environment",
        "Environment",
        table(("", "value", "where"), rows, label="Environment"),
    )


def ranks(frame: SectionBuilder, verdict: StepVerdict) -> Markup | None:
    """All ranks and their last phases."""
    if not verdict.ranks:
        return None
    slow_nodes = verdict.named_ranks
    rows: list[tuple[object, ...]] = [
        (r.rank, r.node, r.phase, "named by a finding" if r.rank in slow_nodes else "")
        for r in verdict.ranks
    ]
    head = ("rank", "node", "last phase", "")
    title = f"{plural(len(verdict.ranks), 'rank')} and their last phases"
    return frame.section(
        "ranks", "Ranks", details(title, table(head, rows, label="Ranks"))
    )
