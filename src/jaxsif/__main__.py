"""`python -m jaxsif` is the `jax-sif` command."""
# SPDX-License-Identifier: Apache-2.0

from jaxsif.cli import main

raise SystemExit(main())
