"""Trains a small network on all devices; continues after a kill or a time limit."""
# SPDX-License-Identifier: Apache-2.0

import argparse
import hashlib
import signal
import sys
import threading
import time
from pathlib import Path

from jaxsif import (
    initialize_distributed,
    report_progress,
    report_speed,
    request_requeue,
)

# Slurm sends this signal before the time limit (`--signal=URG@300`); only set a flag.
signalled = threading.Event()
signal.signal(signal.SIGURG, lambda *_: signalled.set())

info = initialize_distributed()
import flax.linen as nn  # noqa: E402  (import JAX only after joining the group)
import jax  # noqa: E402  (as above)
import numpy as np  # noqa: E402  (as above)
import optax  # noqa: E402  (as above)
import orbax.checkpoint as ocp  # noqa: E402  (as above)
from jax.experimental import multihost_utils  # noqa: E402  (as above)
from jax.sharding import Mesh, NamedSharding  # noqa: E402  (as above)
from jax.sharding import PartitionSpec as P  # noqa: E402  (as above)
from tqdm import tqdm  # noqa: E402  (as above)

# An array on all devices of all processes: a full copy on each, or split by rows.
mesh = Mesh(np.array(jax.devices()), ("devices",))
whole, by_rows = NamedSharding(mesh, P()), NamedSharding(mesh, P("devices"))

# ---- Data: noisy pictures of digits. A picture is made from its number, where yours
# would be read from a file, so each process makes only those of its own devices.

PICTURES, SIZE = 20_000, 8
DIGITS = """
### .#. ### ### #.# ### ### ### ### ###
#.# ##. ..# ..# #.# #.. #.. ..# #.# #.#
#.# .#. ### ### ### ### ### ..# ### ###
#.# .#. #.. ..# ..# ..# #.# ..# #.# ..#
### ### ### ### ..# ### ### ..# ### ###
"""
LINES = [[[c == "#" for c in word] for word in x.split()] for x in DIGITS.split("\n")]
SHAPES = np.array(LINES[1:-1]).swapaxes(0, 1)  # digit, row, column


def picture(number):
    random = np.random.default_rng((1, number))
    canvas = random.normal(0, 0.5, (SIZE, SIZE)).astype(np.float32)
    top, left = random.integers(0, (SIZE - 4, SIZE - 2))
    canvas[top : top + 5, left : left + 3] += 2 * SHAPES[number % 10]
    return canvas


def batch_of(numbers):
    """The pictures with these numbers and their digits, split over all devices."""

    def pictures(rows):
        """Called for the rows of each local device."""
        return np.stack([picture(number) for number in numbers[rows[0]]])

    def digits(rows):
        return numbers[rows[0]].astype(np.int32) % 10

    count = len(numbers)
    return (
        jax.make_array_from_callback((count, SIZE, SIZE), by_rows, pictures),
        jax.make_array_from_callback((count,), by_rows, digits),
    )


def picture_numbers(step, batch, seed):
    """The pictures of a step. They depend on the step only, so that a repeated step is
    the same on any number of devices."""
    epoch, index = divmod(step, PICTURES // batch)
    order = np.random.default_rng((2, seed, epoch)).permutation(PICTURES)
    return order[index * batch : (index + 1) * batch]


# ---- The network, and one step of its training.


class Network(nn.Module):
    width: int

    @nn.compact
    def __call__(self, pictures):
        x = pictures.reshape(pictures.shape[0], -1)
        x = nn.relu(nn.Dense(self.width)(x))
        x = nn.relu(nn.Dense(self.width)(x))
        return nn.Dense(10)(x)


def training(width, seed):
    """Functions for the first state, one step, and the accuracy."""
    network, optimizer = Network(width), optax.adamw(3e-3)

    def first_state():
        sample = np.zeros((1, SIZE, SIZE), np.float32)
        parameters = network.init(jax.random.key(seed), sample)
        return {"parameters": parameters, "optimizer": optimizer.init(parameters)}

    def step(state, pictures, digits, stop_flags):
        """Each device has its rows; JAX sums gradients over all of them."""

        def loss_of(parameters):
            guesses = network.apply(parameters, pictures)
            losses = optax.softmax_cross_entropy_with_integer_labels(guesses, digits)
            return losses.mean()

        loss, gradient = jax.value_and_grad(loss_of)(state["parameters"])
        change, memory = optimizer.update(
            gradient, state["optimizer"], state["parameters"]
        )
        parameters = optax.apply_updates(state["parameters"], change)
        return {"parameters": parameters, "optimizer": memory}, loss, stop_flags.any()

    def accuracy(state, pictures, digits):
        guesses = network.apply(state["parameters"], pictures)
        return (guesses.argmax(axis=1) == digits).mean()

    return (
        jax.jit(first_state, out_shardings=whole),
        jax.jit(step, donate_argnums=0, out_shardings=whole),
        jax.jit(accuracy, out_shardings=whole),
    )


def stop_requested():
    """A flag per device. The signal reaches the processes at different moments, and
    they must stop at the same step: so the step itself combines the flags."""
    mine = np.full(jax.local_device_count(), signalled.is_set())
    return jax.make_array_from_process_local_data(by_rows, mine)


# ---- Checkpoints: written during the training, and valid only when complete.


class Checkpoints:
    def __init__(self, folder, save_every, settings):
        self._save_every, self._settings = save_every, settings
        self._manager = ocp.CheckpointManager(
            folder.absolute(),
            options=ocp.CheckpointManagerOptions(
                max_to_keep=2,
                enable_async_checkpointing=True,
                cleanup_tmp_directories=True,  # left by a kill
            ),
        )

    def latest(self, first_state):
        """Steps done, and the state: of the last complete checkpoint, or the first."""
        # Processes may see a shared folder at different moments; the first one decides.
        found = self._manager.latest_step() or 0
        done = int(multihost_utils.broadcast_one_to_all(np.int32(found)))
        if not done:
            return 0, first_state()
        shapes = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=whole),
            jax.eval_shape(first_state),
        )
        read = self._manager.restore(
            done,
            args=ocp.args.Composite(
                state=ocp.args.StandardRestore(shapes), settings=ocp.args.JsonRestore()
            ),
        )
        if read.settings != self._settings:
            sys.exit(
                f"the checkpoint is of a training with {read.settings}, this one has"
                f" {self._settings}; choose another folder with --checkpoints"
            )
        return done, read.state

    def save(self, done, state, *, is_last=False):
        """Save if due; return at once, and of the last one when it is complete.
        Until then they have another name, so a kill never leaves half a checkpoint."""
        is_due = done % self._save_every == 0 or is_last
        if is_due and done != self._manager.latest_step():
            parts = ocp.args.Composite(
                state=ocp.args.StandardSave(state),
                settings=ocp.args.JsonSave(self._settings),
            )
            self._manager.save(done, args=parts, force=True)
        if is_last:
            self._manager.wait_until_finished()


def fingerprint(state):
    """A hash of all bits of the parameters."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(state["parameters"]):
        digest.update(np.asarray(leaf.addressable_data(0)).tobytes())
    return digest.hexdigest()[:16]


def train(chosen, checkpoints):
    first_state, step, accuracy = training(chosen.width, chosen.seed)
    done, state = checkpoints.latest(first_state)
    # One process prints.
    is_first = info.process_id == 0
    write = tqdm.write if is_first else lambda text: None
    write(f"{info}; {done} of {chosen.steps} steps done before")

    left, compiled = range(done, chosen.steps), done + 1
    bar = tqdm(left, unit="step", ncols=80, mininterval=10, disable=not is_first)
    report_progress(done)
    batch = batch_of(picture_numbers(done, chosen.batch, chosen.seed))
    for done in (number + 1 for number in bar):
        state, loss, is_over = step(state, *batch, stop_requested())
        # The next batch is made while the devices compute.
        batch = batch_of(picture_numbers(done, chosen.batch, chosen.seed))
        if done % chosen.print_every == 0:
            write(f"step {done}: loss {float(loss):.9f}")
        is_last = bool(is_over) or done == chosen.steps
        report_progress(done)
        if is_last:
            break
        checkpoints.save(done, state)
        if done == compiled:
            since_s = time.monotonic()
    checkpoints.save(done, state, is_last=True)
    if done > compiled:
        pictures = (done - compiled) * chosen.batch
        report_speed(pictures, time.monotonic() - since_s, "pictures")

    if done < chosen.steps:
        write(f"stopped after step {done}, to go on in the next run")
        request_requeue()
        return
    right = accuracy(state, *batch_of(PICTURES + np.arange(chosen.batch)))
    write(f"trained {done} steps: {float(right):.1%} of new pictures are read right")
    write(f"parameters {fingerprint(state)}")


def options():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--batch", type=int, default=256, help="pictures in a step")
    parser.add_argument("--width", type=int, default=128, help="of the two layers")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--checkpoints", type=Path, default=Path("checkpoints/train"))
    parser.add_argument("--save-every", type=int, default=50, help="steps")
    parser.add_argument("--print-every", type=int, default=20, help="steps")
    chosen = parser.parse_args()
    if chosen.batch % jax.device_count():
        parser.error(f"--batch must divide over {jax.device_count()} devices")
    return chosen


if __name__ == "__main__":
    chosen = options()
    settings = {name: getattr(chosen, name) for name in ("batch", "width", "seed")}
    train(chosen, Checkpoints(chosen.checkpoints, chosen.save_every, settings))
