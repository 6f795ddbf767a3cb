#!/bin/sh
# Slurm's TaskProlog on the mini cluster's nodes: CPU devices stand in for the GPUs of a task.
# SPDX-License-Identifier: Apache-2.0
set -eu

# Slurm applies each printed `export NAME=VALUE` and `unset NAME` to the task's environment.

# shellcheck source=src/jaxsif/start/local_devices.sh
. "$(dirname "$0")/../src/jaxsif/start/local_devices.sh"

# A batch script and a nested srun pass their environment on. A value that this program set
# for them is not the user's choice, so it must not apply to the tasks below.
if [ "${JAX_NUM_CPU_DEVICES-}" = "${MINICLUSTER_CPU_DEVICES-none}" ]; then
  unset JAX_NUM_CPU_DEVICES
  echo "unset JAX_NUM_CPU_DEVICES"
fi

[ -n "${JAX_PLATFORMS+set}" ] || echo "export JAX_PLATFORMS=cpu"
[ -n "${JAX_SIF_PLATFORM+set}" ] || echo "export JAX_SIF_PLATFORM=cpu"

jaxsif_local_device_ids
if [ -n "$local_device_ids" ] && [ -z "${JAX_NUM_CPU_DEVICES+set}" ]; then
  jaxsif_count_items "$local_device_ids"
  echo "export JAX_NUM_CPU_DEVICES=$item_count"
  echo "export MINICLUSTER_CPU_DEVICES=$item_count"
fi
