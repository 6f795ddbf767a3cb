"""Before the job: what it needs (profile), where it runs (site), and the script that says so; never imports JAX."""
# SPDX-License-Identifier: Apache-2.0
