-- What `module load jax-sif` loads; written by the tools of the kit, read by Lmod.
-- SPDX-License-Identifier: Apache-2.0
module_version("jax-sif/0.12.0.1-cuda12", "default")
