"""Finds the ground state of a spin chain with NetKet, and compares it with theory."""
# SPDX-License-Identifier: Apache-2.0

import argparse
import sys
import time

from jaxsif import initialize_distributed, report_speed

# Before NetKet, whose import starts JAX's devices: after that no group can be joined.
info = initialize_distributed()
import jax  # noqa: E402  (after initialize_distributed, see docs/start.md)
import netket as nk  # noqa: E402  (as above)
import numpy as np  # noqa: E402  (as above)
import optax  # noqa: E402  (as above)


def exact_energy(spins, field):
    """The ground-state energy of the periodic chain with an even number of spins.

    The closed form of Pfeuty, Annals of Physics 57 (1970) 79: the chain is one of free
    fermions, and each of these momenta adds its energy.
    """
    momenta = (2 * np.arange(spins) + 1) * np.pi / spins
    return -np.sqrt(1 + field**2 + 2 * field * np.cos(momenta)).sum()


def trained_state(chosen, write):
    """A wave function whose energy NetKet has minimised."""
    chain = nk.graph.Chain(chosen.spins, pbc=True)
    spins = nk.hilbert.Spin(0.5, chosen.spins)
    energy = nk.operator.Ising(spins, chain, h=chosen.field, J=-1.0)

    # NetKet distributes the Markov chains over all devices of all processes itself.
    sampler = nk.sampler.MetropolisLocal(spins, n_chains=chosen.chains)
    state = nk.vqs.MCState(
        sampler,
        nk.models.RBMSymm(chain.translation_group(), alpha=chosen.alpha),
        n_samples=chosen.samples,
        seed=chosen.seed,
        sampler_seed=chosen.seed + 1,
    )
    rate = optax.linear_schedule(0.05, 0.01, chosen.steps)
    driver = nk.driver.VMC_SR(
        energy, optax.sgd(rate), diag_shift=1e-3, variational_state=state
    )
    began = []

    def on_step(step, log, driver):
        """Called by NetKet after each step."""
        # The speed does not count the first step, which includes compilation.
        began.append(time.monotonic())
        if (step + 1) % chosen.print_every == 0:
            write(f"step {step + 1}: energy {log['Energy']}", flush=True)
        return True

    driver.run(chosen.steps, callback=on_step, show_progress=False)
    report_speed(chosen.steps - 1, began[-1] - began[0], "steps")
    state.n_samples = 8 * chosen.samples
    return state, energy


def main():
    chosen = options()
    # One process prints.
    is_first = info.process_id == 0
    write = print if is_first else lambda *values, **options: None
    write(
        f"{info}; {chosen.spins} spins, {chosen.chains} Markov chains,"
        f" {chosen.samples} samples a step"
    )
    state, energy = trained_state(chosen, write)
    found = state.expect(energy)
    exact = exact_energy(chosen.spins, chosen.field)
    error = float(found.error_of_mean)
    apart = (float(found.mean.real) - exact) / error
    write(f"found  {found.mean.real:.6f} +- {error:.6f}")
    write(f"exact  {exact:.6f}, {abs(apart):.1f} error bars away")
    if abs(apart) > 3:
        write("more than 3 error bars: it needs more steps, or something is wrong")
        sys.exit(1)


def options():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spins", type=int, default=20, help="an even number")
    parser.add_argument("--field", type=float, default=1.0, help="in units of J")
    parser.add_argument("--alpha", type=int, default=4, help="hidden units per spin")
    parser.add_argument("--chains", type=int, default=64, help="in all processes")
    parser.add_argument("--samples", type=int, default=1024, help="of a step, in all")
    parser.add_argument("--steps", type=int, default=300, help="at least 2")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--print-every", type=int, default=50, help="steps")
    chosen = parser.parse_args()
    if chosen.spins % 2:
        parser.error("--spins must be even: the exact energy is of an even chain")
    for name in ("chains", "samples"):
        if getattr(chosen, name) % jax.device_count():
            parser.error(f"--{name} must divide over {jax.device_count()} devices")
    return chosen


if __name__ == "__main__":
    main()
