# Finds the node of rank 0, also where Slurm orders the tasks by topology; sourced by the image's entry, and called by rank/launchers/slurm.py.
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh

# POSIX sh without a fork wherever the order is certain: this runs in every rank.
# Slurm sorts SLURM_STEP_NODELIST and SLURM_NODEID by name, and yet may put rank 0 on
# any node: if the user requests it (an arbitrary distribution), or by the tree of
# switches (topology/tree in Slurm 26.05). Then rank 0 writes its node's name into a
# file in the user's home, because no variable holds it.

# jaxsif_first_host LIST: sets host to the first node of Slurm's compressed node list;
# fails, with an empty host, where a bracket is not closed.
jaxsif_first_host() {
  rest=$1 host=
  while :; do
    part=${rest%%[[,]*}
    host=$host$part
    rest=${rest#"$part"}
    case $rest in
      "["*"]"*)
        inside=${rest#"["}
        host=$host${inside%%[],-]*}
        rest=${rest#*"]"}
        ;;
      "["*)
        host=
        return 1
        ;;
      *) return ;;
    esac
  done
}

# jaxsif_second_host LIST: sets host to the second node of a list of two.
jaxsif_second_host() {
  case $1 in
    *"["*"]"*)
      inside=${1#*"["}
      inside=${inside%%"]"*}
      host=${1%%"["*}${inside##*[,-]}${1#*"]"}
      ;;
    *) host=${1##*,} ;;
  esac
}

# jaxsif_rank_0_host: sets host to the node of rank 0; fails, with an empty host, where
# the list cannot be read.
jaxsif_rank_0_host() {
  jaxsif_first_host "$SLURM_STEP_NODELIST" || return 1
  if [ "${SLURM_STEP_NUM_NODES:-1}" -le 1 ]; then return; fi
  case ${SLURM_DISTRIBUTION:-} in
    arbitrary*)
      line=
      if [ -r "${SLURM_HOSTFILE:-}" ]; then read -r line < "$SLURM_HOSTFILE" || :; fi
      if [ -n "$line" ]; then
        # As node2*4 for four tasks there.
        jaxsif_first_host "${line%%"*"*}" || return 1
        return
      fi
      ;;
    *) case ${SLURM_TOPOLOGY_ADDR_PATTERN:-node} in node) return ;; esac ;;
  esac
  first=$host
  if [ "$SLURM_STEP_NUM_NODES" -eq 2 ] && [ -n "${SLURM_GTIDS:-}" ]; then
    jaxsif_one_of_two
  elif [ "$SLURM_PROCID" = 0 ]; then
    host=$SLURMD_NODENAME
    # The others look for it on the first node.
    jaxsif_leave_host || host=$first
  else
    jaxsif_await_host || host=$first
  fi
}

# jaxsif_one_of_two: sets host to this node where it has rank 0, else to the other one.
jaxsif_one_of_two() {
  case $SLURM_GTIDS, in
    0,*) host=$SLURMD_NODENAME ;;
    *) if [ "$SLURMD_NODENAME" = "$first" ]; then jaxsif_second_host "$SLURM_STEP_NODELIST"; fi ;;
  esac
}

# jaxsif_name_host_file: sets file, in a folder that all nodes share, and folder, which
# it makes; fails where it cannot. The times and the port are in the name because job
# numbers begin again when a cluster is installed again.
jaxsif_name_host_file() {
  folder=${XDG_CONFIG_HOME:-${HOME:+$HOME/.config}}
  folder=${folder:+$folder/jax-sif/secret}
  folder=${JAX_SIF_SECRET_FILE:-$folder}
  case $folder in /*/*) ;; *) return 1 ;; esac
  folder=${folder%/*}/rank-0-hosts
  file=$folder/${SLURM_CLUSTER_NAME:-cluster}.$SLURM_JOB_ID.$SLURM_STEP_ID
  file=$file.${SLURM_RESTART_COUNT:-0}.${SLURM_JOB_START_TIME:-0}
  file=$file.${SLURM_STEP_LAUNCHER_PORT:-${SLURM_SRUN_COMM_PORT:-0}}
  if [ ! -d "$folder" ]; then
    (umask 077 && mkdir -p "$folder") 2> /dev/null || return 1
  fi
  [ -O "$folder" ] && [ -w "$folder" ]
}

# jaxsif_leave_host: writes host into the file, and removes those of an hour ago.
jaxsif_leave_host() {
  jaxsif_name_host_file || return 1
  find "$folder" -maxdepth 1 -type f -name '*.*.*.*.*.*' -mmin +60 -delete 2> /dev/null
  # In one piece: the others may read it at any time.
  (umask 077 && echo "$host" > "$file.new" && mv -f "$file.new" "$file") 2> /dev/null
}

# jaxsif_await_host: sets host to what rank 0 wrote; waits for at most half a minute, in
# which rank 0's container should have started.
jaxsif_await_host() {
  jaxsif_name_host_file || return 1
  for pause in 0 0.02 0.05 0.1 0.2 0.5 0.5 0.5 1 1 1 2 2 2 3 3 4 4 4; do
    if [ "$pause" != 0 ]; then sleep "$pause"; fi
    # A pattern, which opens the folder: NFS remembers for a while what was not there.
    for found in "$file"*; do
      if [ "$found" = "$file" ] && read -r host < "$file"; then return; fi
    done
  done
  echo "jax-sif: rank ${SLURM_PROCID:-0} on $SLURMD_NODENAME: rank 0 did not write its node \
into $file within 30 s; taking $first, the first of $SLURM_STEP_NODELIST" >&2
  return 1
}
