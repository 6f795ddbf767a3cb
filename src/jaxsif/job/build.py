"""Builds a job script: reads profile, site and network, combines and renders them."""
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
from jaxsif.job.request import (
    JobRequest,
    build_job,
    notes,
    topology_of,
    with_overrides,
)
from jaxsif.job.schema import Network, Profile, Site

_PACKAGES_SUFFIX = ".sqsh"


@dataclass(frozen=True)
class JobOptions:
    """The command-line options; `*_changes` override fields of profile and site."""

    site: str | None = None
    profile_changes: Mapping[str, str] = field(default_factory=dict)
    site_changes: Mapping[str, str] = field(default_factory=dict)
    # NAME=VALUE, or one overlay file.
    variables: Sequence[str] = ()
    sbatch_options: Sequence[str] = ()
    output: str = "%x-%j.out"
    # Path of the verdict file.
    verdict: str | None = None
    divides: Sequence[int] = ()
    is_staged: bool = False
    is_requeued: bool = False
    collectives: str = "gloo"
    made_by: str = "jax-sif job"


def render_job(
    args: Sequence[str],
    options: JobOptions,
    environment: Mapping[str, str] = os.environ,
) -> str:
    """The script for `PROFILE [PROGRAM [ARGUMENT ...]]`.

    Raises UsageError that names the wrong option, or file and field.
    """
    if not args:
        raise UsageError(
            "jax-sif job needs a profile (jax-sif profile list) or a topology, as in:"
            " jax-sif job G8N2p8 train.py"
        )
    site = _site(options, environment)
    network = configs.find(Network, site.network, environment)
    request = JobRequest(
        program=tuple(args[1:]),
        output=options.output,
        verdict=options.verdict,
        made_by=options.made_by,
        divides=tuple(options.divides),
        is_staged=options.is_staged,
        collectives=options.collectives,
    )
    profile = _changed_profile(args, options, environment)
    job = build_job(profile, site, network, request)
    for note in notes(job):
        print(f"jax-sif job: {note}", file=sys.stderr)
    return render(job)


def topology_for(
    args: Sequence[str],
    options: JobOptions,
    environment: Mapping[str, str] = os.environ,
) -> Topology:
    """The topology of the script for the same arguments and options."""
    return topology_of(_changed_profile(args, options, environment))


def _site(options: JobOptions, environment: Mapping[str, str]) -> Site:
    name = options.site or environment.get(configs.SITE_VARIABLE)
    site = configs.find(Site, name or configs.DEFAULT_SITE, environment)
    changes: dict[str, Any] = dict(options.site_changes)
    for field_name in ("partition", "constraint"):
        if field_name in changes:
            # An option applies to jobs with GPUs as well.
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
    return with_overrides(Site, site, changes)


def _changed_profile(
    args: Sequence[str], options: JobOptions, environment: Mapping[str, str]
) -> Profile:
    profile = _profile(args[0], environment)
    changes: dict[str, Any] = dict(options.profile_changes)
    if not args[1:] and not profile.name:
        # The job is named after the program, or after the profile if there is none.
        changes.setdefault("name", Path(args[0]).stem)
    variables, packages = _parse_assignments(options.variables)
    if variables:
        changes["environment"] = {**profile.environment, **variables}
    if packages:
        changes["packages"] = packages
    if options.is_requeued:
        changes["requeue"] = True
    return with_overrides(Profile, profile, changes)


def _profile(name: str, environment: Mapping[str, str]) -> Profile:
    """The profile of that name; a topology label is a profile as well."""
    if is_label(name) and not configs.has(Profile, name, environment):
        return Profile(description=f"{name} with default settings", topology=name)
    return configs.find(Profile, name, environment)


def _parse_assignments(args: Sequence[str]) -> tuple[dict[str, str], str | None]:
    """Split --env into variables, whose names have no dot or slash, and the overlay."""
    found, files = {}, []
    for text in args:
        name, has_value, value = text.partition("=")
        if has_value and "/" not in name and "." not in name:
            found[name] = value
        else:
            files.append(text)
    for text in files:
        if not text.endswith(_PACKAGES_SUFFIX):
            raise UsageError(
                f"--env is {text!r}, expected NAME=VALUE, or an overlay file such"
                f" as my{_PACKAGES_SUFFIX} (jax-sif packages create)"
            )
    if len(files) > 1:
        raise UsageError(
            f"--env names {' and '.join(map(repr, files))}, but a job can have only"
            " one overlay; combine them: jax-sif packages create"
        )
    return found, files[0] if files else None
