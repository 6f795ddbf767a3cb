"""A data loader like Grain's: spawned workers, shared memory, a prefetching thread, closed at exit; runs as a rank."""
# SPDX-License-Identifier: Apache-2.0

import atexit
import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import shared_memory

from _group import add_up, end_well, join


def serve(name: str, tasks, ready) -> None:
    memory = shared_memory.SharedMemory(name)
    while (task := tasks.get()) is not None:
        memory.buf[task] = task
        ready.put(task)
    memory.close()


def main() -> None:
    join()
    spawned = multiprocessing.get_context("spawn")
    tasks, ready = spawned.Queue(), spawned.Queue()
    memory = shared_memory.SharedMemory(create=True, size=1 << 20)
    words = (memory.name, tasks, ready)
    workers = [spawned.Process(target=serve, args=words) for _ in range(2)]
    for worker in workers:
        worker.start()

    def close() -> None:
        for _ in workers:
            tasks.put(None)
        for worker in workers:
            worker.join()
        memory.close()
        memory.unlink()

    atexit.register(close)
    with ThreadPoolExecutor(1) as prefetcher:
        for task in range(10):
            tasks.put(task)
        futures = [prefetcher.submit(ready.get) for _ in range(10)]
        assert sum(future.result() for future in futures) == 45
    add_up()
    end_well()


if __name__ == "__main__":
    main()
