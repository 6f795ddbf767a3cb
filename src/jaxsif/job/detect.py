"""Drafts a site file from facts about the cluster, each value with its reason."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from jaxsif.core.errors import CouldNotTell

# Contains the output of bin/site-facts.
FACTS_VARIABLE = "JAX_SIF_SITE_FACTS"

_GPU = re.compile(r"gpu:(?:([A-Za-z][\w.-]*):)?(\d+)")


@dataclass(frozen=True)
class DetectedValue:
    """A field of the draft, by its path, with its reason."""

    path: str
    value: str
    reason: str


@dataclass(frozen=True)
class _Partition:
    """Equal nodes of one partition."""

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
      facts: the output of bin/site-facts.

    Raises CouldNotTell when there is no partition in it.
    """
    rows = [line.split("|") for line in facts.splitlines() if "|" in line]
    partitions = [_row(row) for row in rows if row[0] == "partition"]
    if not partitions:
        raise CouldNotTell(
            "sinfo is missing on this node, or did not answer; run this on a login"
            " node: jax-sif site detect"
        )
    host = _first(rows, "host") or "this node"
    choices = [
        DetectedValue(
            "description", f"a cluster, as {host} sees it", "a draft: read it"
        ),
        *_scheduler(partitions, rows),
        *_network(rows, host),
        *_folders(rows),
        _runtime(rows, host),
    ]
    return _text(choices)


def _row(columns: Sequence[str]) -> _Partition:
    _, name, nodes, cpus, memory, gres, *_ = columns
    gpu = _GPU.search(gres)
    return _Partition(
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
    partitions: Sequence[_Partition], rows: Sequence[Sequence[str]]
) -> Iterator[DetectedValue]:
    with_gpus = [row for row in partitions if row.gpus]
    default = next((row.partition for row in partitions if row.is_default), "")
    if not with_gpus:
        yield DetectedValue("node.gpus", "0", "sinfo shows no GPUs in any partition")
        chosen = [row for row in partitions if row.partition == default] or partitions
    else:
        counts: Counter[str] = Counter()
        for row in with_gpus:
            counts[row.partition] += row.nodes
        name, nodes = counts.most_common(1)[0]
        if default in counts:
            why = f"the default, and {counts[default]} of its nodes have GPUs"
            name = default
        else:
            why = f"has most of the nodes with GPUs ({nodes})"
        others = sorted(set(counts) - {name})
        more = f"; others: {', '.join(others)}" if others else ""
        yield DetectedValue("gpus.partition", name, why + more)
        members = [row for row in with_gpus if row.partition == name]
        chosen = [row for row in members if row.gpu_type == members[0].gpu_type]
        yield from _gpus(members, chosen, rows)
    yield DetectedValue(
        "node.cpus", str(min(r.cpus for r in chosen)), "the fewest of these nodes"
    )
    yield DetectedValue(
        "node.memory",
        f"{min(r.memory_mb for r in chosen)}M",
        "the least of these nodes",
    )
    enforced = next((r[2] for r in rows if r[1:2] == ["AccountingStorageEnforce"]), "")
    if "associations" in enforced:
        yield DetectedValue(
            "account", "YOUR-PROJECT", f"Slurm requires it: it enforces {enforced}"
        )


def _gpus(
    members: Sequence[_Partition],
    chosen: Sequence[_Partition],
    rows: Sequence[Sequence[str]],
) -> Iterator[DetectedValue]:
    types = sorted({row.gpu_type or "(none)" for row in members})
    if chosen[0].gpu_type:
        several = f"the first of several: {', '.join(types)}"
        why = several if len(types) > 1 else "the only type"
        yield DetectedValue("gpus.type", chosen[0].gpu_type, why)
    select = next((r[2] for r in rows if r[1:2] == ["SelectType"]), "")
    if select and "cons_tres" not in select:
        yield DetectedValue(
            "gpus.request", "gres", f"{select} does not support --gpus-per-node"
        )
    yield DetectedValue("node.gpus", str(max(r.gpus for r in chosen)), "sinfo's GRES")


def _network(rows: Sequence[Sequence[str]], host: str) -> Iterator[DetectedValue]:
    seen = f"seen on {host}; compute nodes may differ: srun jax-sif site detect"
    slingshot = [row[1] for row in rows if row[0] == "slingshot"]
    ports: dict[str, dict[str, str]] = {}
    for row in rows:
        if row[0] == "port":
            ports.setdefault(row[1], {})[row[2]] = row[3]
    active = [p for p in ports.values() if "ACTIVE" in p.get("state", "")]
    if slingshot:
        yield DetectedValue("network", "slingshot", f"{slingshot[0]} found; {seen}")
    elif active:
        kinds = ", ".join(
            f"{count} x {kind}"
            for kind, count in Counter(
                f"{p.get('link_layer', '?')} {p.get('rate', '')}".strip()
                for p in active
            ).items()
        )
        yield DetectedValue(
            "network",
            "infiniband",
            f"{len(active)} active of {len(ports)} RDMA ports ({kinds}); {seen}",
        )
    else:
        down = f"{len(ports)} RDMA ports, none active" if ports else "no RDMA port"
        # Not Ethernet: if this is a login node, compute nodes may still have RDMA.
        yield DetectedValue("network", "unknown", f"{down}; {seen}")


def _folders(rows: Sequence[Sequence[str]]) -> Iterator[DetectedValue]:
    scratch = _first(rows, "scratch")
    if scratch:
        yield DetectedValue("scratch", scratch, "from the variable SCRATCH")
    elif any(row[:2] == ["folder", "/scratch"] for row in rows):
        yield DetectedValue("scratch", "/scratch", "the folder exists")
    local = next((r[1] for r in rows if r[0] == "folder" and r[1] != "/scratch"), "")
    if local:
        yield DetectedValue("local_disk", local, "the folder exists")


def _runtime(rows: Sequence[Sequence[str]], host: str) -> DetectedValue:
    found = [row[1] for row in rows if row[0] == "runtime"]
    if "apptainer" in found or "singularity" in found:
        return DetectedValue("runtime", "apptainer", f"{found[0]} is on PATH")
    for name in ("podman-hpc", "pyxis"):
        if name in found:
            return DetectedValue("runtime", name, f"{name} found, no Apptainer")
    return DetectedValue(
        "runtime",
        "apptainer",
        f"no runtime on PATH of {host}; it may be on compute nodes only",
    )


def _text(choices: Sequence[DetectedValue]) -> str:
    """The draft as YAML, with nested fields grouped."""
    lines = [
        "# A draft by `jax-sif site detect`. Save it as",
        "#   ~/.config/jax-sif/sites/NAME.yaml",
        "# for --site NAME, or set JAX_SIF_SITE to its path for all jobs.",
    ]
    heading = ""
    for choice in sorted(choices, key=lambda c: _ORDER.index(c.path.split(".")[0])):
        group, _, field = choice.path.rpartition(".")
        if group != heading and group:
            lines.append(f"{group}:")
        heading = group
        indent = "  " if group else ""
        lines.append(f"{indent}# {choice.reason}")
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
