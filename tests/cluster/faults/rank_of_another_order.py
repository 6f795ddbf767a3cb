"""A rank calls the collectives in another order than the rest."""
# SPDX-License-Identifier: Apache-2.0

from fault import Fault, mark

FAULT = Fault(
    says=("rank 5 on node2", "in identity", "7 other ranks wait"), has_baseline=False
)


def in_rank(rank):
    if rank == 5:
        from jaxsif.rank.reporter import Reporter

        proves = Reporter.prove_identity

        def prove_first(self):
            mark("fault")
            proves(self)

        devices = Reporter.devices

        def devices_then_proof(self):
            devices(self)
            prove_first(self)

        Reporter.devices = devices_then_proof
