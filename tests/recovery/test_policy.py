"""The decision after an attempt: the table of evidence, the budget, and the nodes of the next start."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import msgspec
import pytest
import tomllib
from checkout import ROOT, SRC

from jaxsif.core.attempts_file import Attempt, Cause, Decision, NodeLeftOut
from jaxsif.recovery import policy
from jaxsif.recovery.kinds import KINDS, Evidence
from jaxsif.recovery.policy import Situation, decide, first_start

NODES = ("node1", "node2", "node3")
NOW = Situation(nodes=NODES, needed=2, max_restarts=10)


def cause(kind: str, *nodes: str, text: str = "", ranks=(2,), error: str = "") -> Cause:
    return Cause(kind, text, ranks if nodes else (), nodes, error)


def attempt(
    why: Cause | None = None,
    *,
    status: int = 1,
    nodes: tuple[str, ...] = ("node1", "node2"),
    steps: tuple[int, int] | None = (0, 50),
    lasts_s: float = 60.0,
    left_out: tuple[str, ...] = (),
) -> Attempt:
    """An attempt on two nodes that failed after some steps."""
    first, last = steps or (None, None)
    return Attempt(
        number=1,
        nodes=nodes,
        started=0.0,
        ended=lasts_s,
        status=status,
        cause=why,
        first_done=first,
        last_done=last,
        decision=Decision(
            "start", "", left_out=tuple(NodeLeftOut(n, "bad") for n in left_out)
        ),
    )


def now(**changes) -> Situation:
    return msgspec.structs.replace(NOW, **changes)


def names(decision: Decision) -> list[str]:
    return [node.node for node in decision.left_out]


@pytest.mark.parametrize(
    ("why", "action", "nodes", "left_out", "pauses"),
    [
        # A node is at fault for certain: a spare, at once.
        (
            cause("slurm-node-failed", "node2"),
            "start",
            ["node1", "node3"],
            ["node2"],
            0,
        ),
        (cause("gpu-lost", "node1"), "start", ["node2", "node3"], ["node1"], 0),
        (cause("image-missing", "node2"), "start", ["node1", "node3"], ["node2"], 0),
        (cause("foreign-peer", "node2"), "start", ["node1", "node3"], ["node2"], 0),
        # Suspected: the same nodes. Rank 0 alone may write to a full disk of all nodes.
        (cause("host-disk-full", "node2"), "start", ["node1", "node2"], [], 0),
        (cause("disk-full", "node1"), "start", ["node1", "node2"], [], 0),
        (cause("rank-silent", "node2"), "start", ["node1", "node2"], [], 0),
        (cause("hang", "node2"), "start", ["node1", "node2"], [], 0),
        (
            cause("rank-exited", "node2", text="rank 2 on node2: Killed"),
            *("start", ["node1", "node2"], [], 0),
        ),
        # No node is at fault: the same nodes, after a pause.
        (cause("gloo-timeout", "node2"), "start", ["node1", "node2"], [], 5),
        (cause("coordinator-unreachable"), "start", ["node1", "node2"], [], 5),
        # An exception: once more.
        (
            cause("program-failed", "node2", error="ValueError: no such data"),
            *("start", ["node1", "node2"], [], 0),
        ),
        # Wrong usage, and whatever is not known to be worth a restart.
        (
            cause("program-failed", "node1", error="SystemExit: 2"),
            *("stop", [], [], 0),
        ),
        (
            cause("program-failed", "node1", error="ModuleNotFoundError: No module"),
            *("stop", [], [], 0),
        ),
        (
            cause(
                "rank-exited", "node1", text="rank 0: Exited with exit code 2 (srun)"
            ),
            *("stop", [], [], 0),
        ),
        (cause("program-missing"), "stop", [], [], 0),
        (cause("process-count"), "stop", [], [], 0),
        (cause("a-kind-of-tomorrow", "node2"), "stop", [], [], 0),
        (None, "stop", [], [], 0),
        # Ended from outside.
        (cause("cancelled"), "stop", [], [], 0),
        (cause("terminated", "node2"), "stop", [], [], 0),
        (cause("slurm-time-limit"), "stop", [], [], 0),
    ],
)
def test_evidence_gives_the_decision(why, action, nodes, left_out, pauses):
    found = decide([attempt(why)], NOW)

    assert (action, nodes, left_out, pauses) == (
        found.action,
        list(found.nodes),
        names(found),
        found.pause_s,
    ), found.reason


def test_a_program_that_ended_well_is_done_and_one_that_asks_is_requeued():
    assert "done" == decide([attempt(status=0)], NOW).action
    assert "stop" == decide([attempt(status=75)], NOW).action
    assert "requeue" == decide([attempt(status=75)], now(may_requeue=True)).action


def test_a_job_that_is_ended_from_outside_is_never_started_again():
    why = cause("slurm-node-failed", "node2")

    assert "stop" == decide([attempt(why)], now(is_interrupted=True)).action


def test_a_program_with_a_status_of_its_own_above_128_was_ended_by_a_signal():
    text = "rank 2 on node2: Exited with exit code 137 (reported by srun)"

    found = decide([attempt(cause("rank-exited", "node2", text=text))], NOW)

    assert "start" == found.action


def test_a_node_that_slurm_calls_down_is_left_out_whatever_the_ranks_report():
    why = cause("program-failed", "node1", error="XlaRuntimeError: connection reset")

    found = decide([attempt(why)], now(failed={"node2": "Slurm: down*"}))

    assert ("start", ["node2"]) == (found.action, names(found))
    assert ("node1", "node3") == found.nodes


def test_a_spare_that_is_down_is_no_reason_to_start_again():
    found = decide([attempt(None, status=7)], now(failed={"node3": "Slurm: down*"}))

    assert "stop" == found.action


def test_a_node_that_starts_no_process_makes_way_for_this_start_only():
    why = cause("gloo-closed", "node1")

    found = decide([attempt(why)], now(unready={"node2": "started no process"}))

    assert ("start", [], 0.0) == (found.action, names(found), found.pause_s)
    assert ("node1", "node3") == found.nodes


def test_a_second_suspicion_leaves_the_node_out():
    first = attempt(cause("rank-silent", "node2"), steps=(0, 50))
    other = attempt(cause("gloo-timeout", "node1"), steps=(40, 70))
    again = attempt(cause("hang", "node2"), steps=(60, 90))

    found = decide([first, other, again], NOW)

    assert ["node2"] == names(found)
    assert ("node1", "node3") == found.nodes


def test_a_second_suspicion_without_a_spare_keeps_the_node():
    first = attempt(cause("rank-silent", "node2"), steps=(0, 50))
    again = attempt(cause("hang", "node2"), steps=(60, 90))

    found = decide([first, again], now(nodes=("node1", "node2")))

    assert ("start", []) == (found.action, names(found))
    assert ("node1", "node2") == found.nodes


def test_evidence_on_all_nodes_leaves_none_out():
    """As an image on a disk that all nodes share."""
    why = cause("image-missing", "node1", "node2", ranks=(0, 1, 2, 3))

    found = decide([attempt(why)], NOW)

    assert [] == names(found)
    assert "stop" == decide([attempt(why), attempt(why)], NOW).action


def test_a_fault_that_follows_its_rank_is_not_of_a_node():
    first = attempt(cause("image-missing", "node1", ranks=(0,)), left_out=("node1",))
    moved = attempt(
        cause("image-missing", "node2", ranks=(0,)),
        nodes=("node2", "node3"),
        steps=(0, 50),
    )

    found = decide([first, moved], NOW)

    assert ("stop", []) == (found.action, names(found))


def test_the_same_exception_without_progress_stops_the_job():
    why = cause("program-failed", "node2", error="ValueError: step 50")
    first = attempt(why, steps=(0, 49))

    assert "stop" == decide([first, attempt(why, steps=(40, 49))], NOW).action
    assert "start" == decide([first, attempt(why, steps=(40, 60))], NOW).action
    other = msgspec.structs.replace(why, error="OSError: stale file handle")
    assert "start" == decide([first, attempt(other, steps=(40, 49))], NOW).action


@pytest.mark.parametrize(
    ("steps", "count"),
    [
        ([(0, 50)], 0),
        ([None], 1),
        ([(0, 50), (40, 49), (40, 48)], 2),
        # It gets further each time, and nothing is saved.
        ([(0, 50), (0, 60), (0, 70)], 2),
        ([(0, 50), (40, 90), (80, 120)], 0),
        ([(0, 50), None, None, None], 3),
    ],
)
def test_attempts_without_progress_are_counted(steps, count):
    attempts = [attempt(steps=each) for each in steps]

    assert count == policy.attempts_without_progress(attempts)


def test_three_attempts_without_progress_stop_the_job():
    kinds = ("gloo-timeout", "rank-silent", "nccl-unreachable", "rank-silent")
    attempts = [attempt(cause(kind, "node2"), steps=(0, 50)) for kind in kinds]

    assert "start" == decide(attempts[:3], NOW).action
    assert "stop" == decide(attempts, NOW).action


def test_without_reports_only_a_long_attempt_is_progress():
    short = attempt(steps=None, lasts_s=policy.LONG_ENOUGH_S - 1)
    long = attempt(steps=None, lasts_s=policy.LONG_ENOUGH_S)

    assert not policy.has_progress([short])
    assert policy.has_progress([short, long])


def test_no_more_starts_than_allowed():
    why = cause("gloo-timeout", "node2")
    attempts = [attempt(why, steps=(n * 10, n * 10 + 10)) for n in range(4)]

    assert "start" == decide(attempts[:3], now(max_restarts=3)).action
    assert "stop" == decide(attempts, now(max_restarts=3)).action
    assert "stop" == first_start(attempts, now(max_restarts=3)).action


def test_pauses_grow_to_five_minutes():
    why = cause("gloo-timeout", "node2")
    attempts = [attempt(why, steps=(n * 10, n * 10 + 10)) for n in range(10)]

    found = [decide(attempts[:n], NOW).pause_s for n in range(1, 10)]

    assert [5, 10, 20, 40, 80, 160, 300, 300, 300] == found


@pytest.mark.parametrize(
    ("may_requeue", "action"), [(True, "requeue"), (False, "stop")]
)
def test_without_enough_nodes_the_job_is_requeued_if_it_may_be(may_requeue, action):
    first = attempt(cause("gpu-lost", "node2"), left_out=("node2",))
    spare_too = attempt(
        cause("gpu-lost", "node3"), nodes=("node1", "node3"), steps=(40, 90)
    )

    found = decide([first, spare_too], now(may_requeue=may_requeue))

    assert (action, ["node3"]) == (found.action, names(found))


def test_all_nodes_bad_leaves_no_start():
    failed = dict.fromkeys(NODES, "Slurm: down*")

    found = decide([attempt(cause("gloo-timeout", "node2"))], now(failed=failed))

    assert "stop" == found.action


def test_a_requeued_job_knows_its_bad_nodes():
    before = attempt(cause("gpu-lost", "node2"), left_out=("node2",))

    assert ("node1", "node3") == first_start([before], NOW).nodes
    assert ("node1", "node2") == first_start([], NOW).nodes


def test_every_kind_in_the_table_exists():
    catalogue = (SRC / "jaxsif/logs/catalogue.toml").read_text()
    known = {cause["id"] for cause in tomllib.loads(catalogue)["cause"]}
    pages = [(ROOT / "docs" / f"{n}.md").read_text() for n in ("verdict", "start")]
    sources = [path.read_text() for path in (SRC / "jaxsif").glob("[!r]*/**/*.py")]
    sources += [path.read_text() for path in (SRC / "jaxsif/rank").rglob("*.py")]
    known |= {
        kind
        for kind in KINDS
        if any(f"`{kind}`" in page for page in pages)
        or any(f'"{kind}"' in source for source in sources)
    }
    # Of jaxsif.hang.
    assert {"hang"} >= KINDS.keys() - known


def test_no_kind_is_in_two_rows_of_the_table():
    from jaxsif.recovery import kinds

    rows = (kinds._NODE, kinds._SUSPECT, kinds._NO_NODE, kinds._PROGRAM, kinds._OUTSIDE)
    listed = [kind for row in rows for kind in row.split()]

    assert sorted(listed) == sorted(set(listed))
    assert Evidence.FINAL not in KINDS.values()


def test_a_node_on_which_an_earlier_attempt_lives_is_not_used():
    why = "process 12 cannot be ended"
    held = now(unready={"node2": why}, occupied=frozenset({"node2"}))

    found = decide([attempt(cause("rank-silent", "node1"))], held)
    without_spare = msgspec.structs.replace(held, nodes=("node1", "node2"))

    assert ("start", ("node1", "node3"), []) == (
        found.action,
        found.nodes,
        names(found),
    )
    stopped = decide([attempt(cause("rank-silent", "node1"))], without_spare)
    assert "stop" == stopped.action
    assert "stop" == first_start([], without_spare).action


def test_nothing_is_started_beside_an_attempt_that_may_live():
    why = cause("slurm-node-failed", "node2")

    assert "stop" == decide([attempt(why)], now(is_unswept=True)).action


def test_requeues_are_not_failures():
    requeued = [attempt(status=75)] * 9
    failed = attempt(cause("gloo-timeout", "node2"), steps=(50, 60))

    assert "start" == first_start(requeued, now(max_restarts=1)).action
    assert "start" == decide([*requeued, failed], now(max_restarts=1)).action


@pytest.mark.parametrize(
    ("kind", "action"), [("rank-incomplete", "stop"), ("slurm-node-failed", "start")]
)
def test_a_program_that_ended_well_everywhere_is_final(kind, action):
    found = decide([attempt(cause(kind, "node2"))], now(has_ended_well=True))

    assert action == found.action
