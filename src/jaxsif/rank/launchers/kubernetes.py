"""A Kubernetes Job of completion mode Indexed: a process per pod, no API calls."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Mapping

from jaxsif.core.errors import UsageError
from jaxsif.core.slurm_env import KUBERNETES, Identity
from jaxsif.core.topology import TOPOLOGY_VARIABLE, parse_topology
from jaxsif.rank.launchers.machine import RUN_VARIABLE, LocalHost, number

# Set by the Job's controller in every container.
INDEX = "JOB_COMPLETION_INDEX"
# Pods do not know their number: the manifest sets it, here or by the topology.
PROCESSES = "NUM_PROCESSES"


class Kubernetes:
    """The Job sets the index; names and ports follow from the pod."""

    def identify(self, environment: Mapping[str, str], machine: LocalHost) -> Identity:
        """The rank is the pod's index; the pod is the node, with its own GPUs.

        The pod's host name is `job-index` (kubernetes.io/docs/tasks/job,
        "Job with Pod-to-Pod Communication"), in a JobSet `set-group-0-index`.
        """
        rank = number(environment, INDEX, "a Job of completionMode: Indexed")
        pod = machine.host_name.partition(".")[0]
        # A Job's uid, where the manifest hands it on: a JobSet makes new Jobs at a
        # restart.
        run = environment.get(RUN_VARIABLE)
        job = pod.removesuffix(f"-{rank}")
        return Identity(
            step=".".join(["kubernetes", job, *([run] if run else [])]),
            rank=rank,
            processes=_processes(environment),
            local_rank=0,
            node=pod,
            node_list=pod,
            local_processes=1,
            launcher=KUBERNETES,
        )

    def coordinator_host(
        self, environment: Mapping[str, str], identity: Identity, machine: LocalHost
    ) -> str:
        """The pod of index 0, by the own pod's name in the cluster's name service."""
        pod, _, domain = machine.full_name().partition(".")
        job = pod.removesuffix(f"-{identity.rank}")
        if identity.processes == 1:
            return pod
        if job == pod:
            raise UsageError(
                f"the pod's host name is {pod!r}, expected it to end in"
                f" -{identity.rank}, as Kubernetes names the pods of an indexed Job;"
                " take spec.hostname out of the pod's template, or set"
                " JAX_COORDINATOR_ADDRESS"
            )
        if not domain:
            raise UsageError(
                f"the pod {pod!r} has no name in the cluster's name service, so others"
                " cannot reach it; make a headless Service and name it in the pod's"
                " template as subdomain (docs/start.md shows both), or set"
                " JAX_COORDINATOR_ADDRESS"
            )
        return f"{job}-0.{domain}"


def _processes(environment: Mapping[str, str]) -> int:
    label = environment.get(TOPOLOGY_VARIABLE)
    if label:
        return parse_topology(label).processes
    if environment.get(PROCESSES):
        return number(
            environment, PROCESSES, "a manifest that gives the number of pods"
        )
    raise UsageError(
        "Kubernetes provides a pod's index, but not the number of pods;"
        f" {TOPOLOGY_VARIABLE} and {PROCESSES} are not set: give one of them to the"
        " container in the manifest (docs/start.md shows where)"
    )
