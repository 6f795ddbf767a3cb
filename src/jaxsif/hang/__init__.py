"""Find the rank on which a group hangs, in any JAX program."""
# SPDX-License-Identifier: Apache-2.0
