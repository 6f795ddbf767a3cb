"""A program that knows nothing of this kit, of which the last rank stops as HANG names, or pauses as PAUSE names, while the others wait for it; runs as a rank."""
# SPDX-License-Identifier: Apache-2.0

import contextlib
import ctypes
import os
import pdb
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import jax
import numpy as np
from jax.experimental import multihost_utils

PAUSE_S = float(os.environ.get("PAUSE_S", "0"))


def step(number):
    return float(np.sum(multihost_utils.process_allgather(np.float32(number))))


def loop():
    while True:
        pass


def sleep():
    time.sleep(10**6)


def c_call():
    # Keeps the interpreter's lock.
    ctypes.PyDLL(None).sleep(10**6)


def stopped():
    # By then it was seen at this line.
    time.sleep(3)
    os.kill(os.getpid(), signal.SIGSTOP)


def lock():
    threading.Event().wait()


def fifo():
    path = Path(tempfile.mkdtemp()) / "fifo"
    os.mkfifo(path)
    path.read_text()


def checkpoint(end_s):
    with tempfile.TemporaryFile() as file:
        while time.monotonic() < end_s:
            file.seek(0)
            file.write(os.urandom(1 << 18))
            file.flush()
            time.sleep(0.02)


def evaluation(end_s):
    total = 0.0
    while time.monotonic() < end_s:
        total += sum(float(x) for x in np.random.rand(1000))


def compilation(end_s):
    """One after another, each of some seconds."""
    while time.monotonic() < end_s:
        number = int(time.monotonic_ns() % 10**6)

        def f(x, number=number):
            for i in range(1500):
                x = jax.numpy.sin(x + number + i)
            return x

        jax.jit(f)(np.float32(1)).block_until_ready()


def loading(end_s):
    while time.monotonic() < end_s:
        np.sort(np.random.rand(10**5))
        time.sleep(0.3)


def numpy_call(end_s):
    """Calls that let other threads run, at one line."""
    matrix = np.random.rand(700, 700)
    while time.monotonic() < end_s:
        np.linalg.svd(matrix)


def in_a_process(end_s):
    code = f"import time\nwhile time.monotonic() < {end_s}: pass"
    subprocess.run([sys.executable, "-c", code], check=True)


def in_a_thread(end_s):
    thread = threading.Thread(target=evaluation, args=[end_s])
    thread.start()
    thread.join()


def download(end_s):
    """A child that receives data and uses little of a processor."""
    code = (
        "import sys, time\n"
        f"while time.monotonic() < {end_s}: print('x' * 40000); time.sleep(0.5)"
    )
    subprocess.run([sys.executable, "-uc", code], check=True, stdout=subprocess.DEVNULL)


def debugger(end_s):
    """At a prompt that nothing answers until the end."""
    read, write = os.pipe()
    threading.Timer(
        end_s - time.monotonic(), lambda: os.write(write, b"continue\n")
    ).start()
    with open(read) as answers, open(os.devnull, "w") as screen:
        pdb.Pdb(stdin=answers, stdout=screen, nosigint=True).set_trace()
        print("after the breakpoint", flush=True)


def wait_for_file(end_s):
    """Polls: it looks like a hang for ever, and is only a warning."""
    while time.monotonic() < end_s:
        time.sleep(0.5)


def serve(end_s):
    """A server without requests; the others wait for the next one in a collective."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        timer = threading.Timer(
            end_s - time.monotonic(), lambda: socket.create_connection(address)
        )
        timer.start()
        server.accept()


def main():
    jax.distributed.initialize()
    is_odd = jax.process_index() == jax.process_count() - 1
    for number in range(4):
        step(number)
        if number == 2 and is_odd:
            print("odd from", time.time(), flush=True)
            with contextlib.suppress(KeyError):
                globals()[os.environ["HANG"]]()
            if "PAUSE" in os.environ:
                globals()[os.environ["PAUSE"]](time.monotonic() + PAUSE_S)
    print(f"rank {jax.process_index()} ended well", flush=True)


main()
