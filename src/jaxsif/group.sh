# Lets the ranks of a step know each other by certificates, so that no stranger can join or kill it; sourced by the image's entry, in the container.
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh

# JAX's coordinator talks to anybody who connects, also of another user, and a stranger
# ends the job. From 0.11 on JAX speaks mutual TLS when its environment names the files.
# The first rank of a step on a node makes them (authority.py), the last one removes
# them; each rank keeps an open descriptor, which no end of a process can leave behind.

# jaxsif_speaks_tls: fails, with reason set, when the image's JAX is older than 0.11.
jaxsif_speaks_tls() {
  for jax in /opt/jax/lib/python3*/site-packages/jax-[0-9]*.dist-info; do
    if [ ! -d "$jax" ]; then break; fi
    jax=${jax##*/jax-} jax=${jax%.dist-info}
    major=${jax%%.*} rest=${jax#*.}
    if [ "$major" -gt 0 ] || [ "${rest%%.*}" -ge 11 ]; then return; fi
    reason="JAX $jax cannot, 0.11 and later can"
    return 1
  done
  reason='the image has no JAX'
  return 1
}

# jaxsif_open_folder: sets folder to a place that only this user can read. Sets is_first
# to whether this rank made it, and so has to fill it.
jaxsif_open_folder() {
  is_first=yes
  for place in /dev/shm "${TMPDIR:-/tmp}" /tmp; do
    folder=$place/jax-sif-$1
    if mkdir -m 700 "$folder" 2> /dev/null; then return; fi
    # -O and not a link: somebody else may have foreseen the name.
    if [ -d "$folder" ] && [ -O "$folder" ] && [ ! -L "$folder" ]; then
      is_first=no
      return
    fi
  done
  reason='no private folder could be made in /dev/shm or /tmp'
  return 1
}

jaxsif_make_credentials() {
  coordinator=${JAX_COORDINATOR_ADDRESS:-$host}
  # -P: the program's own folder is not searched for modules.
  PYTHONPATH='' PYTHONNOUSERSITE=1 /opt/jax/bin/python -P \
    /opt/jax-sif/lib/jaxsif/authority.py "$folder" "$1" "${coordinator%:*}"
}

# jaxsif_await_credentials STEP: waits for the first rank, at most 20 s; it may have died.
jaxsif_await_credentials() {
  waits=0
  while [ ! -e "$folder/group.pem" ] && [ ! -e "$folder/reason" ]; do
    waits=$((waits + 1))
    # Removed: all the others have what they need, and this rank comes again.
    if [ ! -d "$folder" ] || [ "$waits" -gt 400 ]; then
      folder=$folder.$$
      mkdir -m 700 "$folder" && jaxsif_make_credentials "$1"
      return
    fi
    sleep 0.05
  done
}

# The last rank of the node that has taken them removes the files.
jaxsif_leave_folder() {
  mkdir "$folder/rank-$SLURM_PROCID" 2> /dev/null || return 0
  jaxsif_tasks_on_node
  # `jax-sif launch` poses as several nodes, which share this folder.
  if [ "${SLURM_CLUSTER_NAME:-}" = local ]; then
    tasks_on_node=${JAX_SIF_RANKS_ON_MACHINE:-$tasks_on_node}
  fi
  set -- "$folder"/rank-*
  # shellcheck disable=SC2154 # set by local_devices.sh, which the entry has sourced
  if [ $# -ge "$tasks_on_node" ]; then rm -rf "$folder"; fi
}

# jaxsif_join_group: sets step, and exports the names of the files for JAX; fails, with reason set, when
# there are none.
jaxsif_join_group() {
  jaxsif_speaks_tls || return 1
  step=${SLURM_CLUSTER_NAME:-cluster}.$SLURM_JOB_ID.$SLURM_STEP_ID.${SLURM_RESTART_COUNT:-0}
  jaxsif_open_folder "$step" || return 1
  if [ "$is_first" = yes ]; then
    jaxsif_make_credentials "$step"
  else
    jaxsif_await_credentials "$step"
  fi
  if [ ! -e "$folder/group.pem" ]; then
    reason='its making failed (message above)'
    # shellcheck disable=SC2034 # read by the entry
    if [ -e "$folder/reason" ]; then read -r reason < "$folder/reason"; fi
    jaxsif_leave_folder
    return 1
  fi
  # By the number of this process, which the program keeps: so the name also holds for
  # the program's children, which do not inherit the descriptor.
  exec 7< "$folder/group.pem"
  jaxsif_leave_folder
  file=/proc/$$/fd/7
  export JAX_MTLS_CERT_FILE="$file" JAX_MTLS_KEY_FILE="$file" JAX_MTLS_CA_FILE="$file"
  export JAX_MTLS_PEER_URI_PREFIX="spiffe://jax-sif/$step/"
}
