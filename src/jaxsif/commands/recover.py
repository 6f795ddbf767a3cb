"""`jax-sif recover decide`: what follows from an attempt; bin/recover runs the attempts."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jaxsif.core.errors import PASS, REQUEUE, KitError, UsageError

if TYPE_CHECKING:
    from jaxsif.core.attempts_file import Attempt, AttemptsFile, Cause, Decision
    from jaxsif.core.evidence import Finding
    from jaxsif.core.topology import Topology
    from jaxsif.core.verdict_file import StepVerdict
    from jaxsif.recovery.policy import Situation

_FIRST = "first"
# Slurm's states of a node that runs nothing, without their marks.
_FAILED_STATES = ("down", "fail", "unknown", "power_down", "powered_down", "future")


def main(arguments: Sequence[str]) -> int:
    """Print the decision as NAME=VALUE lines for bin/recover, and say it to the user."""
    parser = _parser()
    if arguments[:1] != ["decide"]:
        parser.parse_args(arguments)
        raise UsageError(
            "jax-sif recover starts the program with srun, but Slurm's commands are not"
            " available here; call the module's jax-sif in a job's script (jax-sif job"
            " --max-restarts prints one)"
        )
    chosen = _decide_parser().parse_args(arguments[1:])

    from jaxsif.core.topology import TOPOLOGY_VARIABLE, parse_topology

    label = os.environ.get(TOPOLOGY_VARIABLE, "")
    if not label:
        raise UsageError(
            f"{TOPOLOGY_VARIABLE} is not set; set it to the job's topology"
        )
    _check(chosen)
    return _decide(chosen, parse_topology(label))


def _parser() -> argparse.ArgumentParser:
    return argparse.ArgumentParser(
        prog="jax-sif recover",
        usage="jax-sif recover [--max-restarts=N] [--spare-nodes=N] [--requeue]"
        " [--user-program] [--verdict-file=FILE] [--history=FILE] -- srun ...",
        description="Experimental: never run on a real cluster. In a job's script: runs srun and jax-sif verify, and starts the"
        " program again after a failure that another start can mend, on a spare node"
        " where a node is at fault. It adds --nodes, --ntasks, --nodelist and"
        " --overlap to srun's options, and sets JAX_SIF_ATTEMPT.",
        epilog="Exit status: that of the last attempt; 2 usage error, 75 requeued.",
    )


def _decide_parser() -> argparse.ArgumentParser:
    """The loop's own options; see bin/recover."""
    parser = argparse.ArgumentParser(prog="jax-sif recover decide")
    add = parser.add_argument
    add("--history", type=Path, required=True)
    add("--work", type=Path, required=True, help="the loop's own folder")
    add("--max-restarts", type=int, required=True)
    add("--spare-nodes", type=int, required=True)
    add("--requeue", action="store_true")
    add("--interrupted", action="store_true")
    add("--ended-well", action="store_true", help="srun of a user's program gave 0")
    add("--unswept", action="store_true", help="Slurm did not respond")
    add("--attempt", default=_FIRST, metavar="N", help=f"or {_FIRST}")
    add("--nodes", default="", help="of the attempt, as Slurm writes them")
    add("--started", type=float, default=0.0)
    add("--ended", type=float, default=0.0)
    add("--status", type=int, default=0)
    return parser


def _check(chosen: argparse.Namespace) -> None:
    if chosen.max_restarts < 1:
        raise UsageError(
            f"--max-restarts is {chosen.max_restarts}: without a restart there is nothing"
            " to recover; give 1 or more, or call srun without jax-sif recover"
        )


def _decide(chosen: argparse.Namespace, topology: Topology) -> int:
    from jaxsif.recovery import policy

    history = History(chosen, topology)
    now = _situation(chosen, topology)
    attempts = list(history.attempts)
    if chosen.attempt == _FIRST:
        history.prove_writable()
        decision = policy.first_start(attempts, now)
    else:
        attempts.append(_attempt(chosen))
        decision = policy.decide(attempts, now)
        attempts[-1] = _decided(attempts[-1], decision)
        history.write(attempts)
    if decision.action == "requeue":
        status = REQUEUE
    else:
        status = chosen.status if attempts else PASS
    _answer(decision, len(attempts) + 1, status, topology, history)
    return PASS


def _answer(
    decision: Decision,
    number: int,
    status: int,
    topology: Topology,
    history: History,
) -> None:
    """Write the answer for the loop to standard output, and to the user what was decided."""
    from jaxsif.core.text import listed, plural

    if decision.action == "stop" and status == PASS:
        status = KitError.exit_status
    values = {
        "action": decision.action,
        "attempt": number,
        "nodes": ",".join(decision.nodes),
        "pause_s": f"{decision.pause_s:.0f}",
        "status": status,
        "left_out": ",".join(history.all_left_out(decision)),
        "node_count": topology.nodes,
        "processes": topology.processes,
        "per_node": topology.processes_per_node,
    }
    sys.stdout.write("".join(f"{name}={value}\n" for name, value in values.items()))
    if number > 1:
        action = {"start": "starting again", "done": "done"}
        where = f" on {listed(decision.nodes)}" if decision.nodes else ""
        print(
            f"jax-sif recover: attempt {number - 1}:"
            f" {action.get(decision.action, decision.action)}{where}: {decision.reason}",
            file=sys.stderr,
        )
    if decision.action != "start":
        attempts = history.attempts
        print(
            f"jax-sif recover: {plural(len(attempts), 'attempt')}{_totals(history.file)};"
            f" {history.place}",
            file=sys.stderr,
        )


def _totals(file: AttemptsFile) -> str:
    """`, goodput 93 %, 0.12 device hours lost`; empty if no progress was reported."""
    if file.goodput is None or file.device_hours_lost is None:
        return ""
    lost = file.device_hours_lost
    return f", goodput {file.goodput:.0%}, {lost:g} device hours lost"


class History:
    """The file of attempts; in the loop's own folder where it cannot be written."""

    def __init__(self, chosen: argparse.Namespace, topology: Topology) -> None:
        from jaxsif.core import slurm_env

        self._chosen = chosen
        self._topology = topology
        self._path: Path = chosen.history
        self._own: Path = chosen.work / "attempts.json"
        self._job = os.environ.get(slurm_env.JOB_ID, "")
        self._name = os.environ.get(slurm_env.JOB_NAME, "")
        self._is_requeued = os.environ.get(slurm_env.RESTART_COUNT, "0") != "0"
        self.file = self._with(self._read())

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        return self.file.attempts

    @property
    def place(self) -> str:
        return f"history: {self._path}"

    def all_left_out(self, decision: Decision) -> list[str]:
        """Every node that was left out, by this decision too."""
        left_out = (*self.file.left_out, *decision.left_out)
        return list(dict.fromkeys(n.node for n in left_out))

    def write(self, attempts: Sequence[Attempt]) -> None:
        """Write all attempts; a file that cannot be written does not end the job."""
        import msgspec

        from jaxsif.core.atomic_write import atomic_write

        self.file = self._with(attempts)
        text = msgspec.json.format(msgspec.json.encode(self.file), indent=1).decode()
        atomic_write(self._own, text, "the job cannot be started again")
        try:
            atomic_write(self._path, text, "the job goes on without this file")
        except KitError as error:
            print(f"jax-sif recover: warning: {error}", file=sys.stderr)

    def prove_writable(self) -> None:
        """Write into the loop's own folder, where bin/recover looks for it; may raise."""
        from jaxsif.core.atomic_write import atomic_write

        hint = "set TMPDIR to a folder that the container sees, such as /tmp"
        atomic_write(self._chosen.work / "written", "", hint)

    def _read(self) -> tuple[Attempt, ...]:
        """The attempts so far: of this loop, or of the job before it was requeued."""
        from jaxsif.core import attempts_file

        if self._own.exists():
            return attempts_file.read(self._own).attempts
        if not self._is_requeued or not self._path.exists():
            return ()
        try:
            found = attempts_file.read(self._path)
        except UsageError as error:
            print(f"jax-sif recover: warning: {error}", file=sys.stderr)
            return ()
        return found.attempts if found.job == self._job else ()

    def _with(self, attempts: Sequence[Attempt]) -> AttemptsFile:
        from jaxsif.core.attempts_file import AttemptsFile, with_totals
        from jaxsif.core.image import kit_version

        return with_totals(
            AttemptsFile(
                kit=kit_version(),
                job=self._job,
                name=self._name,
                topology=self._topology.label,
                devices=self._topology.devices,
                spare_nodes=self._chosen.spare_nodes,
                max_restarts=self._chosen.max_restarts,
                attempts=tuple(attempts),
            )
        )


def _situation(chosen: argparse.Namespace, topology: Topology) -> Situation:
    """From the files of the loop: `allocation`, `states` and `ready`.

    `allocation` is Slurm's list of the job's nodes; `states` has a node and its state on
    each line; `ready` a node and `ok`, or a reason, whose first word is `occupied:` where a process
    could not be ended. Without `ready` all nodes are.
    """
    from jaxsif.core import slurm_env
    from jaxsif.core.hostlist import expand
    from jaxsif.recovery.policy import Situation

    first = _expanded(os.environ.get(slurm_env.JOB_NODE_LIST, ""))
    nodes = expand(_text(chosen.work / "allocation").strip()) or first
    failed = dict.fromkeys(
        (node for node in first if node not in nodes), "no longer in the allocation"
    )
    states = _pairs(_text(chosen.work / "states"))
    for node, state in states.items():
        if state.rstrip("*$~#!%@^-+").lower().startswith(_FAILED_STATES):
            failed[node] = f"Slurm: {state}"
    ready_file = chosen.work / "ready"
    unready: dict[str, str] = {}
    if ready_file.exists():
        ready = _pairs(_text(ready_file))
        unready = {
            node: ready.get(node, "started no process")
            for node in nodes
            if ready.get(node) != "ok"
        }
    return Situation(
        nodes=tuple(nodes),
        needed=topology.nodes,
        max_restarts=chosen.max_restarts,
        failed=failed,
        unready=unready,
        occupied=frozenset(
            node for node, why in unready.items() if why.split()[0] == "occupied:"
        ),
        may_requeue=chosen.requeue,
        is_interrupted=chosen.interrupted,
        is_unswept=chosen.unswept,
        has_ended_well=chosen.ended_well,
    )


def _attempt(chosen: argparse.Namespace) -> Attempt:
    """The attempt that has just ended, from the loop's options and its verdict."""
    from jaxsif.core import verdict_file
    from jaxsif.core.attempts_file import Attempt, Decision
    from jaxsif.core.records import ProgressRecord

    nodes = tuple(_expanded(chosen.nodes))
    path = chosen.work / "verdict.json"
    verdicts: tuple[StepVerdict, ...] = ()
    try:
        verdicts = verdict_file.read(path) if path.exists() else ()
    except UsageError as error:
        # Without a cause nothing is started again.
        print(f"jax-sif recover: warning: {error}", file=sys.stderr)
    progress = next(
        (
            record
            for verdict in verdicts
            for rank in verdict.ranks
            if (record := rank.last(ProgressRecord)) is not None
        ),
        None,
    )
    return Attempt(
        number=int(chosen.attempt),
        nodes=nodes,
        started=chosen.started,
        ended=chosen.ended,
        status=chosen.status,
        cause=_cause(verdicts, nodes) if chosen.status not in (PASS, REQUEUE) else None,
        begun=min((s for v in verdicts if (s := v.start_time_s)), default=None),
        first_done=progress.first_done if progress else None,
        last_done=progress.done if progress else None,
        first_time=progress.first_time if progress else None,
        last_time=progress.time if progress else None,
        decision=Decision("stop", ""),
    )


def _decided(attempt: Attempt, decision: Decision) -> Attempt:
    import msgspec

    return msgspec.structs.replace(attempt, decision=decision)


def _cause(verdicts: Sequence[StepVerdict], nodes: Sequence[str]) -> Cause | None:
    """The cause by the first verdict that has one.

    Findings are sorted, causes first. But what other ranks make of a rank that was
    killed, or of a node that was lost, may look like a cause.
    """
    from jaxsif.recovery.kinds import KINDS, Evidence

    for verdict in verdicts:
        findings = [f for f in verdict.findings if not f.is_warning]
        if not findings:
            continue
        certain = [f for f in findings if KINDS.get(f.kind) is Evidence.NODE]
        killed = [
            f
            for f in findings
            if f.kind == "rank-exited"
            and f.text.partition(": ")[2].startswith("Killed")
        ]
        return _as_cause(verdict, [*certain, *killed, *findings][0], nodes)
    return None


def _as_cause(verdict: StepVerdict, finding: Finding, nodes: Sequence[str]) -> Cause:
    from jaxsif.core.attempts_file import Cause
    from jaxsif.core.records import FailedRecord

    ranks = {rank.rank: rank for rank in verdict.ranks}
    reports = [ranks[rank] for rank in finding.ranks if rank in ranks]
    failures = [report.last(FailedRecord) for report in reports]
    errors = [f.error for f in failures if f is not None and f.error is not None]
    # A rank that never reported is where the topology places it.
    per_node = max(1, verdict.topology.processes // verdict.topology.nodes)
    expected = {r: nodes[i] for r in finding.ranks if (i := r // per_node) < len(nodes)}
    named = [
        ranks[rank].node if rank in ranks else expected.get(rank, "")
        for rank in finding.ranks
    ]
    return Cause(
        finding.kind,
        finding.text,
        finding.ranks,
        tuple(node for node in dict.fromkeys(named) if node in nodes),
        errors[0] if errors else "",
    )


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _expanded(node_list: str) -> list[str]:
    from jaxsif.core.hostlist import expand

    try:
        return expand(node_list)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _pairs(text: str) -> Mapping[str, str]:
    """`NODE WORDS` of each line."""
    lines = (line.split(None, 1) for line in text.splitlines())
    return {words[0]: words[1].strip() for words in lines if len(words) == 2}
