"""The known traps in a job script that somebody wrote by hand: text in, findings out; runs anywhere, never imports jax."""
# SPDX-License-Identifier: Apache-2.0
