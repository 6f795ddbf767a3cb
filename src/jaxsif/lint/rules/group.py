"""JAX's group: shared ports, proxies, variables that JAX does not read."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator

from jaxsif.lint.commands import Setting
from jaxsif.lint.launches import Launch
from jaxsif.lint.rule import ERROR, NOTE, WARNING, Violation, rule
from jaxsif.lint.script import Script

_PORT, _ADDRESS = "JAX_COORDINATOR_PORT", "JAX_COORDINATOR_ADDRESS"
_PROXIES = ("http_proxy", "https_proxy", "grpc_proxy")
_NO_PROXIES = ("no_proxy", "no_grpc_proxy")
_UNREAD = (
    "JAX_NUM_PROCESSES",
    "JAX_PROCESS_ID",
    "JAX_CHECK_PROXY_ENVS",
    "JAX_DISTRIBUTED_INITIALIZATION_TIMEOUT_SECONDS",
)
_FIXED_PORT = re.compile(r":\d+$")
# An argument that suggests that the program has its own port.
_OWN_PORT = re.compile(r"coordinator|port|address", re.IGNORECASE)


@rule(
    "port-shared",
    ERROR,
    fix="start each step through `singularity run` of this kit's image, or give each its"
    " own JAX_COORDINATOR_PORT",
    why="JAX derives its coordinator's port from the job alone and binds it so that two"
    " steps join each other's group: wrong sums, and exit status 0",
    source="measured with JAX 0.10.2 and 0.12.0.1: wrong sums in 11 of 16 trials",
)
def port_shared(script: Script) -> Iterator[Violation]:
    """Steps that run at the same time share JAX's coordinator port"""
    for group in _concurrent(script):
        group = [launch for launch in group if not _has_own_port(script, launch)]
        for launch in group[:1]:
            others = [other for other in group[1:] if _port(other) == _port(launch)]
            loops = launch.command.place.loop
            if others:
                lines = ", ".join(str(other.line) for other in others)
                text = f"this step and that of line {lines} have one coordinator port"
                yield Violation(launch.line, text)
            elif loops and launch.command.place.is_background:
                text = (
                    f"the steps of the loop in line {loops} have one coordinator port"
                )
                yield Violation(launch.line, text)


def _concurrent(script: Script) -> Iterator[list[Launch]]:
    """The groups of JAX steps that run at the same time."""
    group: list[Launch] = []
    by_command: dict[int, list[Launch]] = defaultdict(list)
    for launch in script.steps:
        if launch.runs_jax:
            by_command[id(launch.command)].append(launch)
    for command in script.commands:
        if command.name == "wait" and not command.place.is_conditional:
            yield group
            group = []
        own = by_command[id(command)]
        is_alone = not command.place.is_background and not group
        # What a step runs one after the other is one program.
        group += [] if is_alone else own[:1]
    yield group


def _has_own_port(script: Script, launch: Launch) -> bool:
    """Whether it does not share its port with another step, or this is unknown."""
    if script.passes_entry(launch) or launch.shape.tasks == 1:
        return True
    if any(_OWN_PORT.search(word.text) for word in launch.program[1:]):
        return True
    setting = launch.variables.get(_PORT) or launch.variables.get(_ADDRESS)
    return bool(setting and setting.value and not setting.value.is_known)


def _port(launch: Launch) -> str:
    setting = launch.variables.get(_PORT) or launch.variables.get(_ADDRESS)
    return setting.value.text if setting and setting.value else ""


@rule(
    "port-fixed",
    WARNING,
    fix="leave it to the image, or derive it from the job and the step:"
    " JAX_COORDINATOR_PORT=$((20000 + SLURM_JOB_ID % 20000))",
    why="a second job on the same node joins the group through the same port and ends it,"
    " or mixes the ranks of both",
    source="measured with JAX 0.10.2: different incarnation; marin #7994",
)
def port_fixed(script: Script) -> Iterator[Violation]:
    """The coordinator's port is a fixed number"""
    for setting in script.assigned(_PORT, _ADDRESS):
        value = setting.value
        if value is None:
            continue
        if setting.name == _PORT and value.number is not None:
            yield Violation(setting.line, f"every job listens on port {value.text}")
        elif setting.name == _ADDRESS and _FIXED_PORT.search(value.text):
            yield Violation(setting.line, f"every job listens on {value.text}")


@rule(
    "proxy",
    ERROR,
    fix="unset http_proxy https_proxy grpc_proxy before srun; the entry of this kit's"
    " image keeps them off JAX alone",
    why="gRPC sends even the cluster's own traffic to the proxy, and initialize() waits"
    " 300 s for an answer",
    source="measured with JAX 0.10.2; jax #9582; NetKet docs, sharp bits",
)
def proxy(script: Script) -> Iterator[Violation]:
    """JAX would connect to its coordinator through a proxy"""
    for launch in script.jax_launches:
        if not launch.shape.has_several_tasks or script.passes_entry(launch):
            continue
        if any(name in launch.variables for name in _NO_PROXIES):
            continue
        for name in _PROXIES:
            setting = launch.variables.get(name)
            if setting and setting.is_certain and _is_filled(setting):
                yield Violation(
                    setting.line, f"{name} reaches the ranks of line {launch.line}"
                )


def _is_filled(setting: Setting) -> bool:
    return bool(setting.value and setting.value.text)


@rule(
    "proxy-wildcard",
    WARNING,
    fix="name the nodes, or their domain as .cluster.example, or their network as"
    " 10.0.0.0/8; or unset the proxies",
    why="gRPC knows no wildcard in no_proxy, so JAX still connects to the coordinator through the"
    " proxy",
    source="measured with JAX 0.10.2; NetKet docs, sharp bits",
)
def proxy_wildcard(script: Script) -> Iterator[Violation]:
    """no_proxy contains a wildcard"""
    for setting in script.assigned(*_NO_PROXIES):
        if setting.value and "*" in setting.value.text:
            yield Violation(setting.line, f"{setting.name}={setting.value.text}")


@rule(
    "variable-not-used-by-jax",
    NOTE,
    fix="leave it out, or hand it to jax.distributed.initialize() in the program",
    why="JAX itself does not read it: processes and ranks it takes from the launcher, and"
    " time limits only from the call",
    source="measured with JAX 0.10.2",
)
def variable_not_used_by_jax(script: Script) -> Iterator[Violation]:
    """JAX does not read the variable"""
    for setting in script.assigned(*_UNREAD):
        yield Violation(setting.line, f"JAX does not read {setting.name}")


RULES = (port_shared, port_fixed, proxy, proxy_wildcard, variable_not_used_by_jax)
