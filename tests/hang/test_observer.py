"""The process beside a rank, where the kernel or the rank shows it less than usual."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import errno
import os
import threading

import pytest

from jaxsif.hang import activity, observer, page


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSYS, ""), PermissionError(errno.EPERM, ""), AttributeError()],
)
def test_without_pidfd_it_ends_with_the_pipe(monkeypatch, error):
    def pidfd_open(_: int) -> int:
        raise error

    monkeypatch.setattr(os, "pidfd_open", pidfd_open)
    end, wake = os.pipe()
    requests, ask = os.pipe()
    os.close(wake)

    observer.follow(os.getpid(), page.Page(page.create()), end, requests, 4.0)
    for descriptor in end, requests, ask:
        os.close(descriptor)


def look(monkeypatch, sampler: int, seconds: int) -> list[str]:
    """The states that an observer reports of a process whose position gets old."""
    reported: list[str] = []
    watch = observer.Observer(
        *(os.getpid(), 4.0, lambda _, **facts: reported.append(facts.get("state", ""))),
        has_gpus=False,
    )
    position = page.Position(0.0, os.getpid(), ("train.py:1 in f",), sampler=sampler)
    for second in range(seconds):
        seen = activity.Sample(100.0 + second, position, 0, 0, 0, 0, 0, "R")
        monkeypatch.setattr(observer, "take_sample", lambda *_, s=seen, **__: s)
        watch.look(position)
    return reported


def test_a_rank_without_the_thread_that_looks_is_unknown(monkeypatch):
    ended = threading.Thread(target=int)
    ended.start()
    ended.join()
    # The kernel ends it a little later.
    while os.path.exists(f"/proc/self/task/{ended.native_id}"):
        pass

    assert activity.HOLDS_GIL in look(monkeypatch, threading.get_native_id(), 8)
    assert [] == look(monkeypatch, ended.native_id or 0, 8)


def test_a_position_that_is_unknown_takes_back_what_was_reported(monkeypatch):
    kinds = []
    watch = observer.Observer(
        os.getpid(), 4.0, lambda kind, **_: kinds.append(kind), has_gpus=False
    )
    watch._reported = activity.BLOCKED
    watch.lose()

    assert [observer.MovingRecord] == kinds
    assert 0 == watch._stillness.duration_s(10.0**9)
