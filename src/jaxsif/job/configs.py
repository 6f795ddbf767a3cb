"""Finds, reads and lists profiles, sites and networks, of the kit and of the user."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml

from jaxsif.core.errors import UsageError
from jaxsif.core.text import format_table
from jaxsif.core.topology import is_label
from jaxsif.job.schema import PATTERN_DESCRIPTIONS, Network, Profile, Site

# The default site: its name, or the path of its file.
SITE_VARIABLE = "JAX_SIF_SITE"
DEFAULT_SITE = "generic"

_SHIPPED = Path(__file__).parent
_FOLDERS: dict[type, str] = {Profile: "profiles", Site: "sites", Network: "networks"}
_SUFFIX = ".yaml"
# The longest file of the kit has 3 KiB.
_MAX_BYTES = 1 << 16

T = TypeVar("T", bound=msgspec.Struct)


@dataclass(frozen=True)
class Entry:
    """A profile, site or network file, by its name."""

    name: str
    path: Path

    @property
    def origin(self) -> str:
        """Where it comes from: the kit, or the user's path."""
        return "jax-sif" if _SHIPPED in self.path.parents else str(self.path)


def user_dir(environment: Mapping[str, str]) -> Path:
    """The folder of the user's profiles/ and sites/."""
    home = environment.get("XDG_CONFIG_HOME") or os.path.join(
        environment.get("HOME", "/"), ".config"
    )
    return Path(home) / "jax-sif"


def entries(kind: type[T], environment: Mapping[str, str]) -> list[Entry]:
    """All files of a kind, by name; the user's replace those of the kit."""
    found: dict[str, Entry] = {}
    for folder in (_SHIPPED, user_dir(environment)):
        for path in sorted((folder / _FOLDERS[kind]).glob(f"*{_SUFFIX}")):
            found[path.stem] = Entry(path.stem, path)
    return [found[name] for name in sorted(found)]


def find(kind: type[T], name: str, environment: Mapping[str, str]) -> T:
    """Reads the file of that name or path.

    Raises UsageError with similar names, or with file, line and field of an error.
    """
    return read(kind, path_of(kind, name, environment))


def path_of(kind: type[T], name: str, environment: Mapping[str, str]) -> Path:
    """The file of that name or path. Raises UsageError with the nearest names."""
    if "/" in name or name.endswith(_SUFFIX):
        return Path(name).expanduser()
    known = {entry.name: entry for entry in entries(kind, environment)}
    if name not in known:
        near = get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]}?" if near else ""
        folder = user_dir(environment) / _FOLDERS[kind]
        raise UsageError(
            f"no {kind.__name__.lower()} {name!r}; there are {', '.join(known)}{hint}"
            f" (your own belong into {folder}/)"
        )
    return known[name].path


def has(kind: type[T], name: str, environment: Mapping[str, str]) -> bool:
    return any(name == entry.name for entry in entries(kind, environment))


def read(kind: type[T], path: Path) -> T:
    """Reads one file. Raises UsageError with line and field of an error."""
    try:
        with path.open("rb") as source:
            raw = source.read(_MAX_BYTES + 1)
        text = raw.decode()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(
            f"cannot read the {kind.__name__.lower()} {str(path)!r}: {reason}; give a"
            " name (jax-sif profile list, jax-sif site list) or the path of a YAML file"
            " that the container can see"
        ) from error
    if len(raw) > _MAX_BYTES:
        raise UsageError(
            f"{path} has more than {_MAX_BYTES >> 10} KiB; is it the right file?"
        )
    # All values are read as strings and converted by field, because YAML would read
    # 00:10:00 as a number and `no` as false.
    loader = None
    try:
        loader = _Loader(text)
        document = loader.get_single_node()
        content = None if document is None else loader.construct_document(document)
    except (yaml.YAMLError, RecursionError) as error:
        raise UsageError(
            f"{path} is not YAML: {' '.join(str(error).split())}"
        ) from error
    finally:
        if loader is not None:
            loader.dispose()
    try:
        return msgspec.convert(content, kind, strict=False)
    except msgspec.ValidationError as error:
        raise UsageError(_explained(kind, path, document, str(error))) from error


class _Loader(getattr(yaml, "CBaseLoader", yaml.BaseLoader)):  # type: ignore[misc]
    """Rejects duplicate fields."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        names = set()
        for key, _ in node.value:
            name = str(key.value)
            if name in names:
                raise yaml.constructor.ConstructorError(
                    None, None, f"duplicate field {name[:80]!r}", key.start_mark
                )
            names.add(name)
        return super().construct_mapping(node, deep)


def _explained(kind: type[T], path: Path, document: Any, error: str) -> str:
    """ "Expected `int`, got `str` - at `$.gpus.type`" with line and choices."""
    what, _, place = error.partition(" - at ")
    fields = re.findall(r"[A-Za-z0-9_]+", place.partition("$")[2])
    unknown = re.search(r"unknown field `([^`]*)`", what)
    if unknown:
        fields.append(unknown[1])
        what = f"unknown field {unknown[1]!r}; {_valid_names(kind, fields)}"
    else:
        missing = re.search(r"missing required field `([^`]*)`", what)
        field = ".".join(fields)
        if missing:
            what = f"the field {missing[1]!r} is missing" + (
                f" in {field}" * bool(field)
            )
        else:
            what = f"{field}: {describe_type(what)}" if field else describe_type(what)
    line = _line_of(document, fields)
    return f"{path}:{line}: {what}"


def describe_type(what: str) -> str:
    """msgspec's message with a description instead of a regular expression."""
    match = re.fullmatch(r"Expected `str` matching regex '(.*)'", what)
    description = (
        PATTERN_DESCRIPTIONS.get(match[1].replace("\\\\", "\\")) if match else None
    )
    if description:
        return f"expected {description}"
    return f"{what[0].lower()}{what[1:]}".replace("`object`", "fields")


def _valid_names(kind: type[Any], fields: list[str]) -> str:
    """The valid fields instead of an unknown one, and the most similar."""
    owner: Any = kind
    for field in fields[:-1]:
        types = {f.name: f.type for f in msgspec.structs.fields(owner)}
        owner = _struct_of(types.get(field)) or owner
    names = [field.name for field in msgspec.structs.fields(owner)]
    near = get_close_matches(fields[-1], names, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"there are {', '.join(names)}{hint}"


def _struct_of(annotation: Any) -> Any:
    """The struct in a field's type, such as `Line | TopologyNumbers` or a dict."""
    inner = [annotation, *getattr(annotation, "__args__", ())]
    return next((t for t in inner if hasattr(t, "__struct_fields__")), None)


def _line_of(node: Any, fields: list[str]) -> int:
    """The line of a field in the text, or of its nearest parent."""
    line = 1
    for field in fields:
        if isinstance(node, yaml.MappingNode):
            pairs = [(k, v) for k, v in node.value if k.value == field]
        elif isinstance(node, yaml.SequenceNode) and field.isdecimal():
            pairs = [(v, v) for v in node.value[int(field) : int(field) + 1]]
        else:
            pairs = []
        if not pairs:
            return line
        key, node = pairs[0]
        line = key.start_mark.line + 1
    return line


def table(noun: str, environment: Mapping[str, str]) -> str:
    """The table of all profiles or sites."""
    return profile_table(environment) if noun == "profile" else site_table(environment)


def text_of(noun: str, name: str, environment: Mapping[str, str]) -> str:
    """The file of a profile or site. Raises UsageError if it is missing or wrong."""
    kind: type[Profile] | type[Site] = Profile if noun == "profile" else Site
    if kind is Profile and is_label(name) and not has(kind, name, environment):
        # A topology is a profile without a file.
        return f"description: {name} with default settings\ntopology: {name}\n"
    path = path_of(kind, name, environment)
    read(kind, path)
    return path.read_text()


def profile_table(environment: Mapping[str, str]) -> str:
    """A row for each profile, including the user's."""
    heads = ("profile", "topology", "devices", "CPUs", "memory", "time", "for", "from")
    rows = _rows(Profile, _profile, environment)
    return _table(heads, sorted(rows, key=_size))


def site_table(environment: Mapping[str, str]) -> str:
    """A row for each site; the default site is marked."""
    default = environment.get(SITE_VARIABLE) or DEFAULT_SITE
    heads = ("site", "partition", "GPUs", "network", "runtime", "for", "from")
    rows = _rows(Site, _site, environment)
    marked = [
        [f"{row[0]} *" if row[0] == default else row[0], *row[1:]] for row in rows
    ]
    note = f"* without --site ({SITE_VARIABLE}={default})\n"
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
        for entry in entries(kind, environment)
    ]


def _cells(
    kind: type[T], cells: Callable[[T], Sequence[str]], entry: Entry
) -> Sequence[str]:
    """An invalid file is shown with its error; the others are still listed."""
    try:
        return cells(read(kind, entry.path))
    except UsageError as error:
        empty = [""] * (_WIDTHS[kind] - 1)
        return [*empty, f"INVALID: {error}"]


_WIDTHS: dict[type, int] = {Profile: 6, Site: 5}


def _profile(profile: Profile) -> Sequence[str]:
    topology = profile.parse_topology()
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
