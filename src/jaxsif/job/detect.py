"""Drafts a site from what a node knows of its cluster, each value with its reason; pure, runs anywhere."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from jaxsif.core.errors import CouldNotTell

# Where bin/site-facts puts what it has seen.
FACTS_VARIABLE = "JAX_SIF_FACTS"

_GPU = re.compile(r"gpu:(?:([A-Za-z][\w.-]*):)?(\d+)")


@dataclass(frozen=True)
class Choice:
    """A field of the draft, by its path, and why it has its value."""

    path: str
    value: str
    why: str


@dataclass(frozen=True)
class _Row:
    """Nodes of one kind in one partition."""

    partition: str
    is_default: bool
    nodes: int
    cpus: int
    memory_mb: int
    gpus: int
    gpu_type: str


def draft(facts: str) -> str:
    """A site file with a comment for each value.

    Args:
      facts: the lines of bin/site-facts.

    Raises CouldNotTell when they say nothing of a cluster.
    """
    rows = [line.split("|") for line in facts.splitlines() if "|" in line]
    partitions = [_row(row) for row in rows if row[0] == "partition"]
    if not partitions:
        raise CouldNotTell(
            "there is no sinfo on this node, or it did not answer; run it where sbatch"
            " works, on a login node: jax-sif site detect"
        )
    host = _first(rows, "host") or "this node"
    choices = [
        Choice("description", f"a cluster, as {host} sees it", "a draft: read it"),
        *_scheduler(partitions, rows),
        *_network(rows, host),
        *_folders(rows),
        _runtime(rows, host),
    ]
    return _text(choices)


def _row(words: Sequence[str]) -> _Row:
    _, name, nodes, cpus, memory, gres, *_ = words
    gpu = _GPU.search(gres)
    return _Row(
        partition=name.rstrip("*"),
        is_default=name.endswith("*"),
        nodes=int(nodes),
        cpus=int(cpus.rstrip("+")),
        memory_mb=int(memory.rstrip("+")),
        gpus=int(gpu[2]) if gpu else 0,
        gpu_type=(gpu[1] or "") if gpu else "",
    )


def _first(rows: Sequence[Sequence[str]], kind: str) -> str:
    return next((row[1] for row in rows if row[0] == kind), "")


def _scheduler(
    partitions: Sequence[_Row], rows: Sequence[Sequence[str]]
) -> Iterator[Choice]:
    with_gpus = [row for row in partitions if row.gpus]
    default = next((row.partition for row in partitions if row.is_default), "")
    if not with_gpus:
        yield Choice("node.gpus", "0", "sinfo shows no GPUs in any partition")
        chosen = [row for row in partitions if row.partition == default] or partitions
    else:
        counts: Counter[str] = Counter()
        for row in with_gpus:
            counts[row.partition] += row.nodes
        name, nodes = counts.most_common(1)[0]
        if default in counts:
            why = f"the default one, and {counts[default]} of its nodes have GPUs"
            name = default
        else:
            why = f"most nodes with GPUs, {nodes}, are there"
        others = sorted(set(counts) - {name})
        more = f"; others: {', '.join(others)}" if others else ""
        yield Choice("gpus.partition", name, why + more)
        there = [row for row in with_gpus if row.partition == name]
        chosen = [row for row in there if row.gpu_type == there[0].gpu_type]
        yield from _gpus(there, chosen, rows)
    yield Choice(
        "node.cpus", str(min(r.cpus for r in chosen)), "the fewest of those nodes"
    )
    yield Choice(
        "node.memory",
        f"{min(r.memory_mb for r in chosen)}M",
        "the least of those nodes",
    )
    enforced = next((r[2] for r in rows if r[1:2] == ["AccountingStorageEnforce"]), "")
    if "associations" in enforced:
        yield Choice(
            "account", "YOUR-PROJECT", f"Slurm asks for one: it enforces {enforced}"
        )


def _gpus(
    there: Sequence[_Row], chosen: Sequence[_Row], rows: Sequence[Sequence[str]]
) -> Iterator[Choice]:
    types = sorted({row.gpu_type or "(none)" for row in there})
    if chosen[0].gpu_type:
        several = f"the first of several, choose: {', '.join(types)}"
        why = several if len(types) > 1 else "the only type there"
        yield Choice("gpus.type", chosen[0].gpu_type, why)
    select = next((r[2] for r in rows if r[1:2] == ["SelectType"]), "")
    if select and "cons_tres" not in select:
        yield Choice(
            "gpus.request", "gres", f"{select} knows no --gpus-per-node, cons_tres does"
        )
    yield Choice("node.gpus", str(max(r.gpus for r in chosen)), "sinfo's GRES")


def _network(rows: Sequence[Sequence[str]], host: str) -> Iterator[Choice]:
    seen = f"seen on {host}; compute nodes may differ: srun jax-sif site detect"
    slingshot = [row[1] for row in rows if row[0] == "slingshot"]
    ports: dict[str, dict[str, str]] = {}
    for row in rows:
        if row[0] == "port":
            ports.setdefault(row[1], {})[row[2]] = row[3]
    active = [p for p in ports.values() if "ACTIVE" in p.get("state", "")]
    if slingshot:
        yield Choice("network", "slingshot", f"there is {slingshot[0]}; {seen}")
    elif active:
        kinds = ", ".join(
            f"{count} x {kind}"
            for kind, count in Counter(
                f"{p.get('link_layer', '?')} {p.get('rate', '')}".strip()
                for p in active
            ).items()
        )
        yield Choice(
            "network",
            "infiniband",
            f"{len(active)} active of {len(ports)} RDMA ports ({kinds}); {seen}",
        )
    else:
        down = f"{len(ports)} RDMA ports, none active" if ports else "no RDMA port"
        # Not Ethernet: on a login node that would keep the compute nodes from RDMA.
        yield Choice("network", "unknown", f"{down}; {seen}")


def _folders(rows: Sequence[Sequence[str]]) -> Iterator[Choice]:
    scratch = _first(rows, "scratch")
    if scratch:
        yield Choice("scratch", scratch, "SCRATCH names it")
    elif any(row[:2] == ["folder", "/scratch"] for row in rows):
        yield Choice("scratch", "/scratch", "there is such a folder")
    local = next((r[1] for r in rows if r[0] == "folder" and r[1] != "/scratch"), "")
    if local:
        yield Choice("local_disk", local, "there is such a folder")


def _runtime(rows: Sequence[Sequence[str]], host: str) -> Choice:
    found = [row[1] for row in rows if row[0] == "runtime"]
    if "apptainer" in found or "singularity" in found:
        return Choice("runtime", "apptainer", f"{found[0]} is on PATH")
    for name in ("podman-hpc", "pyxis"):
        if name in found:
            return Choice("runtime", name, f"{name} is there, no Apptainer")
    return Choice(
        "runtime",
        "apptainer",
        f"no runtime is on PATH of {host}; it may be on compute nodes alone",
    )


def _text(choices: Sequence[Choice]) -> str:
    """YAML, with what belongs together under its heading."""
    lines = [
        "# A draft by `jax-sif site detect`. Save it as",
        "#   ~/.config/jax-sif/sites/NAME.yaml",
        "# for --site NAME, or name its path in JAX_SIF_SITE for all jobs.",
    ]
    heading = ""
    for choice in sorted(choices, key=lambda c: _ORDER.index(c.path.split(".")[0])):
        group, _, field = choice.path.rpartition(".")
        if group != heading and group:
            lines.append(f"{group}:")
        heading = group
        indent = "  " if group else ""
        lines.append(f"{indent}# {choice.why}")
        lines.append(f"{indent}{field}: {_scalar(choice.value)}")
    return "\n".join([*lines, ""])


_ORDER = (
    "description",
    "account",
    "gpus",
    "node",
    "network",
    "scratch",
    "local_disk",
    "runtime",
)


def _scalar(value: str) -> str:
    if re.fullmatch(r"[\w./$-][\w ./,$-]*", value):
        return value
    escaped = value.replace("'", "''")
    return f"'{escaped}'"
