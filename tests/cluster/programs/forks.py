"""Every rank trains; the last makes children as data loaders do, in the way that its argument names; runs as a rank."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial

from jaxsif import initialize_distributed

WORDS = "the child fails, and its parent does not mind"


def square(number: int) -> int:
    return number * number


def sleep() -> None:
    time.sleep(600)


def fail() -> None:
    raise RuntimeError(WORDS)


def serve(requests, answers) -> None:
    """A worker of torch's DataLoader, of grain's, or of a queue of one's own."""
    while (item := requests.get()) is not None:
        answers.put(square(item))


def load_with(method: str) -> None:
    """Workers that take indices from a queue each, and are daemons, as torch's are."""
    context = multiprocessing.get_context(method)
    answers = context.Queue()
    requests = [context.Queue() for _ in range(2)]
    workers = [
        context.Process(target=serve, args=(queue, answers), daemon=True)
        for queue in requests
    ]
    for worker in workers:
        worker.start()
    for index in range(8):
        requests[index % 2].put(index)
    assert 140 == sum(answers.get(timeout=60) for _ in range(8))
    # One ends by a message, the other is ended, as when an epoch breaks off.
    requests[0].put(None)
    workers[1].terminate()
    for worker in workers:
        worker.join(60)
    assert [0, -signal.SIGTERM] == [worker.exitcode for worker in workers]


def pool_with(method: str) -> None:
    """Leaving the block ends the workers by SIGTERM."""
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert [0, 1, 4] == pool.map(square, range(3))


def executor_with(method: str) -> None:
    context = multiprocessing.get_context(method)
    with concurrent.futures.ProcessPoolExecutor(2, context) as pool:
        assert [0, 1, 4] == list(pool.map(square, range(3)))


def in_threads() -> None:
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        assert [0, 1, 4] == list(pool.map(square, range(3)))


def fork(work) -> int:
    """The wait status of a child that does some work and then goes its way."""
    child = os.fork()
    if child == 0:
        work()
        os._exit(0)
    return os.waitpid(child, 0)[1]


def child_is_terminated() -> None:
    for turn in range(20):
        child = os.fork()
        if child == 0:
            sleep()
        # At once, and later: nothing of the parent's may be left in it.
        time.sleep(0.01 * (turn % 3))
        os.kill(child, signal.SIGTERM)
        assert signal.SIGTERM == os.waitpid(child, 0)[1]


def thread_forks() -> None:
    thread = threading.Thread(target=child_is_terminated)
    thread.start()
    thread.join(60)
    assert not thread.is_alive()


def child_raises() -> None:
    process = multiprocessing.get_context("fork").Process(target=fail)
    process.start()
    process.join(60)
    assert 1 == process.exitcode


def child_exits() -> None:
    process = multiprocessing.get_context("fork").Process(target=sys.exit, args=(3,))
    process.start()
    process.join(60)
    assert 3 == process.exitcode


def bare_child_raises() -> None:
    """By hand, as in old code: the exception passes all of the parent's frames."""
    child = os.fork()
    if child == 0:
        fail()
    assert 1 << 8 == os.waitpid(child, 0)[1]


def bare_child_exits() -> None:
    child = os.fork()
    if child == 0:
        sys.exit(3)
    assert 3 << 8 == os.waitpid(child, 0)[1]


def in_subprocess() -> None:
    assert "4\n" == subprocess.check_output(["echo", "4"], text=True)
    child = subprocess.Popen(["sleep", "600"])
    child.terminate()
    assert -signal.SIGTERM == child.wait(60)
    child = subprocess.Popen(["sleep", "600"], preexec_fn=os.setsid)
    child.terminate()
    assert -signal.SIGTERM == child.wait(60)


def child_prints() -> None:
    assert 0 == fork(lambda: print("a child speaks", flush=True))


CASES = {
    "pool-fork": partial(pool_with, "fork"),
    "pool-spawn": partial(pool_with, "spawn"),
    "pool-forkserver": partial(pool_with, "forkserver"),
    "load-fork": partial(load_with, "fork"),
    "load-spawn": partial(load_with, "spawn"),
    "load-forkserver": partial(load_with, "forkserver"),
    "executor-fork": partial(executor_with, "fork"),
    "executor-spawn": partial(executor_with, "spawn"),
    "threads": in_threads,
    "child-terminated": child_is_terminated,
    "thread-forks": thread_forks,
    "child-raises": child_raises,
    "child-exits": child_exits,
    "bare-child-raises": bare_child_raises,
    "bare-child-exits": bare_child_exits,
    "subprocess": in_subprocess,
    "child-prints": child_prints,
}


def main() -> None:
    info = initialize_distributed()
    import numpy as np
    from jax.experimental import multihost_utils

    for case in sys.argv[1:] or CASES:
        total = multihost_utils.process_allgather(np.ones(1)).sum()
        assert info.num_processes == total
        if info.process_id == info.num_processes - 1:
            CASES[case]()
            print(f"case {case} is over", flush=True)


# The children of spawn and forkserver import this file.
if __name__ == "__main__":
    main()
