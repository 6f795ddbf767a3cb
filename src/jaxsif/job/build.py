"""From the words of a command line to a script: reads the library, puts together, renders; runs in the container, on a login node."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from jaxsif.core.errors import UsageError
from jaxsif.core.topology import Topology, is_label
from jaxsif.job import configs
from jaxsif.job.render import render
from jaxsif.job.request import JobRequest, build_job, changed, notes, topology_of
from jaxsif.job.schema import Network, Profile, Site

_PACKAGES_SUFFIX = ".sqsh"


@dataclass(frozen=True)
class Options:
    """What was chosen besides profile and program. The changes are by field, in the
    place of what stands in the profile and in the site."""

    site: str | None = None
    profile_changes: Mapping[str, str] = field(default_factory=dict)
    site_changes: Mapping[str, str] = field(default_factory=dict)
    # As NAME=VALUE, or one file of packages; and as --exclusive.
    variables: Sequence[str] = ()
    sbatch_options: Sequence[str] = ()
    output: str = "%x-%j.out"
    # Where the verdict is written for programs.
    verdict: str | None = None
    divides: Sequence[int] = ()
    is_staged: bool = False
    is_requeued: bool = False
    collectives: str = "gloo"
    made_by: str = "jax-sif job"


def make(
    words: Sequence[str],
    options: Options,
    environment: Mapping[str, str] = os.environ,
) -> str:
    """The script for `PROFILE [PROGRAM [ARGUMENT ...]]`.

    Raises UsageError that names the option, or the file and field, that is wrong.
    """
    if not words:
        raise UsageError(
            "jax-sif job needs a profile (jax-sif profile list) or a topology, as in:"
            " jax-sif job G8N2p8 train.py"
        )
    site = _site(options, environment)
    network = configs.find(Network, site.network, environment)
    wish = JobRequest(
        program=tuple(words[1:]),
        output=options.output,
        verdict=options.verdict,
        made_by=options.made_by,
        divides=tuple(options.divides),
        is_staged=options.is_staged,
        collectives=options.collectives,
    )
    profile = _changed_profile(words, options, environment)
    job = build_job(profile, site, network, wish)
    for note in notes(job):
        print(f"jax-sif job: {note}", file=sys.stderr)
    return render(job)


def topology_for(
    words: Sequence[str],
    options: Options,
    environment: Mapping[str, str] = os.environ,
) -> Topology:
    """The topology of the script for the same words and options."""
    return topology_of(_changed_profile(words, options, environment))


def _site(options: Options, environment: Mapping[str, str]) -> Site:
    name = options.site or environment.get(configs.SITE_VARIABLE)
    site = configs.find(Site, name or configs.DEFAULT_SITE, environment)
    changes: dict[str, Any] = dict(options.site_changes)
    for field_name in ("partition", "constraint"):
        if field_name in changes:
            # What is said now counts for jobs with GPUs as well.
            gpus = msgspec.to_builtins(changes.get("gpus", site.gpus))
            changes["gpus"] = {**gpus, field_name: None}
    for option in options.sbatch_options:
        if option.startswith("-") and not option.startswith("--"):
            raise UsageError(
                f"--sbatch is {option!r}: use the option's long name, as in"
                " --sbatch=--mail-type=END"
            )
    if options.sbatch_options:
        changes["options"] = [*site.options, *options.sbatch_options]
    return changed(Site, site, changes)


def _changed_profile(
    words: Sequence[str], options: Options, environment: Mapping[str, str]
) -> Profile:
    profile = _profile(words[0], environment)
    changes: dict[str, Any] = dict(options.profile_changes)
    if not words[1:] and not profile.name:
        # A program gives its name to the job, and without one the profile does.
        changes.setdefault("name", Path(words[0]).stem)
    variables, packages = _pairs(options.variables)
    if variables:
        changes["environment"] = {**profile.environment, **variables}
    if packages:
        changes["packages"] = packages
    if options.is_requeued:
        changes["requeue"] = True
    return changed(Profile, profile, changes)


def _profile(name: str, environment: Mapping[str, str]) -> Profile:
    """Of that name; a topology is a profile by itself."""
    if is_label(name) and not configs.has(Profile, name, environment):
        return Profile(description=f"{name}, and nothing else", topology=name)
    return configs.find(Profile, name, environment)


def _pairs(words: Sequence[str]) -> tuple[dict[str, str], str | None]:
    """The variables of --env, and its file of packages: no name has a dot or a slash."""
    found, files = {}, []
    for text in words:
        name, has_value, value = text.partition("=")
        if has_value and "/" not in name and "." not in name:
            found[name] = value
        else:
            files.append(text)
    for text in files:
        if not text.endswith(_PACKAGES_SUFFIX):
            raise UsageError(
                f"--env is {text!r}, expected NAME=VALUE, or a file of packages as"
                f" my{_PACKAGES_SUFFIX} (jax-sif env create)"
            )
    if len(files) > 1:
        raise UsageError(
            f"--env names {' and '.join(map(repr, files))}, and a job has one file of"
            " packages; make one of both: jax-sif env create"
        )
    return found, files[0] if files else None
