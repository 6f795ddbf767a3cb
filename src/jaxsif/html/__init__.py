"""Self-contained HTML pages for `jax-sif report` and `jax-sif scale`."""
# SPDX-License-Identifier: Apache-2.0
