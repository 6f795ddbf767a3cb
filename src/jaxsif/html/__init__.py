"""A page that needs nothing but itself: what `jax-sif report` and `jax-sif scale` share; never imports jax."""
# SPDX-License-Identifier: Apache-2.0
