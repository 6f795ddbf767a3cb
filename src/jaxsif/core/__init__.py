"""Shared types: topology, identity, records, errors. No dependency on JAX."""
# SPDX-License-Identifier: Apache-2.0
