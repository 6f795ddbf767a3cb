"""Tables of the profiles and sites that exist, and the text of each."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from jaxsif.core.errors import UsageError
from jaxsif.core.text import format_table
from jaxsif.core.topology import is_label
from jaxsif.job import configs
from jaxsif.job.configs import Entry, T
from jaxsif.job.request import topology_of
from jaxsif.job.schema import Profile, Site


def table(noun: str, environment: Mapping[str, str]) -> str:
    """The table of all profiles or sites."""
    return profiles(environment) if noun == "profile" else sites(environment)


def text_of(noun: str, name: str, environment: Mapping[str, str]) -> str:
    """The file of a profile or site. Raises UsageError if it is missing or wrong."""
    kind: type[Profile] | type[Site] = Profile if noun == "profile" else Site
    if kind is Profile and is_label(name) and not configs.has(kind, name, environment):
        # A topology is a profile without a file.
        return f"description: {name} with default settings\ntopology: {name}\n"
    path = configs.path_of(kind, name, environment)
    configs.read(kind, path)
    return path.read_text()


def profiles(environment: Mapping[str, str]) -> str:
    """A row for each profile, including the user's."""
    heads = ("profile", "topology", "devices", "CPUs", "memory", "time", "for", "from")
    rows = _rows(Profile, _profile, environment)
    return _table(heads, sorted(rows, key=_size))


def sites(environment: Mapping[str, str]) -> str:
    """A row for each site; the default site is marked."""
    default = environment.get(configs.SITE_VARIABLE) or configs.DEFAULT_SITE
    heads = ("site", "partition", "GPUs", "network", "runtime", "for", "from")
    rows = _rows(Site, _site, environment)
    marked = [
        [f"{row[0]} *" if row[0] == default else row[0], *row[1:]] for row in rows
    ]
    note = f"* without --site ({configs.SITE_VARIABLE}={default})\n"
    return _table(heads, marked) + note


def _size(row: Sequence[str]) -> tuple[str, int, str]:
    """Sort key: invalid files first, then by platform and size."""
    count, _, platform = row[2].partition(" ")
    return platform, int(count or 0), row[0]


def _rows(
    kind: type[T],
    cells: Callable[[T], Sequence[str]],
    environment: Mapping[str, str],
) -> list[list[str]]:
    return [
        [entry.name, *_cells(kind, cells, entry), entry.origin]
        for entry in configs.entries(kind, environment)
    ]


def _cells(
    kind: type[T], cells: Callable[[T], Sequence[str]], entry: Entry
) -> Sequence[str]:
    """An invalid file is shown with its error; the others are still listed."""
    try:
        return cells(configs.read(kind, entry.path))
    except UsageError as error:
        empty = [""] * (_WIDTHS[kind] - 1)
        return [*empty, f"INVALID: {error}"]


_WIDTHS: dict[type, int] = {Profile: 6, Site: 5}


def _profile(profile: Profile) -> Sequence[str]:
    topology = topology_of(profile)
    return (
        topology.label,
        f"{topology.devices} {profile.platform}",
        f"{topology.processes} x {profile.cpus_per_process}",
        profile.memory_per_process or "",
        profile.time_limit,
        profile.description,
    )


def _site(site: Site) -> Sequence[str]:
    gpus = " ".join(filter(None, (site.gpus.type, site.gpus.constraint)))
    count = str(site.node.gpus) if site.node.gpus is not None else ""
    return (
        site.gpus.partition or site.partition or "",
        " x ".join(filter(None, (count, gpus))),
        site.network,
        site.runtime,
        site.description,
    )


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    columns = list(zip(heads, *rows, strict=True))
    # Empty columns are omitted.
    columns = [c for c in columns if any(c[1:])]
    return "\n".join([*format_table(list(zip(*columns, strict=True))), ""])
