"""Builds a job script: reads profile, site and network, combines and renders them."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from jaxsif.core.errors import UsageError
from jaxsif.core.topology import Topology, is_label
from jaxsif.job import configs
from jaxsif.job.render import render
from jaxsif.job.request import JobOptions, build_job, notes, with_overrides
from jaxsif.job.schema import Network, Profile, Site

_PACKAGES_SUFFIX = ".sqsh"


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
    profile = _changed_profile(args, options, environment)
    job = build_job(args[1:], profile, site, network, options)
    for note in notes(job):
        print(f"jax-sif job: {note}", file=sys.stderr)
    return render(job)


def topology_for(
    args: Sequence[str],
    options: JobOptions,
    environment: Mapping[str, str] = os.environ,
) -> Topology:
    """The topology of the script for the same arguments and options."""
    return _changed_profile(args, options, environment).parse_topology()


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
    changes = dict(options.profile_changes)
    if not args[1:] and not profile.name:
        # The job is named after the program, or after the profile if there is none.
        changes.setdefault("name", Path(args[0]).stem)
    if options.environment:
        changes["environment"] = {
            **profile.environment,
            **_parse_assignments(options.environment),
        }
    packages = changes.get("packages", "")
    if packages and not packages.endswith(_PACKAGES_SUFFIX):
        raise UsageError(
            f"--packages is {packages!r}, expected an overlay file such as"
            f" my{_PACKAGES_SUFFIX} (jax-sif packages create)"
        )
    return with_overrides(Profile, profile, changes)


def _profile(name: str, environment: Mapping[str, str]) -> Profile:
    """The profile of that name; a topology label is a profile as well."""
    if is_label(name) and not configs.has(Profile, name, environment):
        return Profile(description=f"{name} with default settings", topology=name)
    return configs.find(Profile, name, environment)


def _parse_assignments(args: Sequence[str]) -> dict[str, str]:
    """The variables of --env NAME=VALUE."""
    variables = {}
    for text in args:
        name, has_value, value = text.partition("=")
        if not has_value:
            hint = ""
            if text.endswith(_PACKAGES_SUFFIX):
                hint = f"; for an overlay of packages: --packages {text}"
            raise UsageError(f"--env is {text!r}, expected NAME=VALUE{hint}")
        variables[name] = value
    return variables
