"""A data loader like tf.data's: threads that fill a buffer and are never ended; runs as a rank."""
# SPDX-License-Identifier: Apache-2.0

import itertools
import queue
import threading

from _group import add_up, end_well, join

join()
batches = queue.Queue(4)


def fill() -> None:
    for number in itertools.count():
        batches.put(bytes(number % 1000))


for _ in range(4):
    threading.Thread(target=fill, daemon=True).start()
for _ in range(100):
    batches.get()
add_up()
end_well()
