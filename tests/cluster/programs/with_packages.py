"""A program that needs a package which the image has not, and says where it is from; runs as a rank."""
# SPDX-License-Identifier: Apache-2.0

from jaxsif import initialize_distributed

initialize_distributed()
import good  # noqa: E402  (after initialize_distributed, as docs/start.md says)
import jax  # noqa: E402  (as above)

print(f"rank {jax.process_index()}: {good.__file__}", flush=True)
