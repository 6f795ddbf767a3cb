"""A data loader like PyTorch's: forked workers, queues, a pinning thread, a SIGCHLD handler, ended by SIGTERM at exit; runs as a rank."""
# SPDX-License-Identifier: Apache-2.0

import atexit
import multiprocessing
import os
import queue
import signal
import threading

from _group import add_up, end_well, join


def serve(barrier, tasks, batches) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # JAX alone makes its process, and each fork of it, deaf to SIGTERM.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    barrier.wait()
    while (task := tasks.get()) is not None:
        batches.put((task, [task] * 4))


def main() -> None:
    join()
    signal.signal(signal.SIGCHLD, lambda *_: None)
    forks = multiprocessing.get_context("fork")
    tasks, batches, pinned = forks.Queue(), forks.Queue(), queue.Queue(2)
    barrier = forks.Barrier(3)
    workers = [
        forks.Process(target=serve, args=(barrier, tasks, batches), daemon=True)
        for _ in range(2)
    ]
    for worker in workers:
        worker.start()
    barrier.wait()

    def pin() -> None:
        while True:
            pinned.put(batches.get())

    threading.Thread(target=pin, daemon=True).start()
    for task in range(20):
        tasks.put(task)
    assert sum(pinned.get()[0] for _ in range(20)) == 190
    add_up()
    # One worker is lost to the node's memory, as it happens; the others are ended.
    os.kill(workers[0].pid, signal.SIGKILL)
    atexit.register(lambda: [worker.terminate() for worker in workers])
    end_well()


if __name__ == "__main__":
    main()
