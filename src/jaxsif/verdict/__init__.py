"""Turns records into a verdict, from outside the ranks; never imports JAX."""
# SPDX-License-Identifier: Apache-2.0
