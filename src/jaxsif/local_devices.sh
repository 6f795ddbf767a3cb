# Decides which GPUs a Slurm task hands to JAX; sourced by the image's entry (container) and the mini cluster's TaskProlog (node).
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh

# POSIX sh without a fork: this runs in every rank before the program.
# JAX's own rule under Slurm is "the GPU whose ordinal is SLURM_LOCALID", which
# fails with GPU binding (jax-ml/jax#23452) and leaves GPUs idle where a task has
# several (jax-ml/jax#16788).

# jaxsif_count_items LIST: sets item_count to the number of comma-separated items.
jaxsif_count_items() {
  item_count=0
  rest=${1:+$1,}
  while [ -n "$rest" ]; do
    item_count=$((item_count + 1))
    rest=${rest#*,}
  done
}

# jaxsif_tasks_on_node: sets tasks_on_node from Slurm's "4(x2),3" and the node's index.
jaxsif_tasks_on_node() {
  tasks_on_node=1
  index=${SLURM_NODEID:-0}
  rest=${SLURM_STEP_TASKS_PER_NODE:-1},
  while [ -n "$rest" ]; do
    item=${rest%%,*}
    rest=${rest#*,}
    tasks_on_node=${item%%"("*}
    case $item in
      *"(x"*) repeat=${item#*"(x"} repeat=${repeat%")"} ;;
      *) repeat=1 ;;
    esac
    if [ "$index" -lt "$repeat" ]; then return; fi
    index=$((index - repeat))
  done
}

# jaxsif_visible_gpus: sets visible_gpus to how many GPUs this task can see.
jaxsif_visible_gpus() {
  visible_gpus=0
  case ${CUDA_VISIBLE_DEVICES-unset} in
    unset)
      for device in /dev/nvidia[0-9]*; do
        if [ -e "$device" ]; then visible_gpus=$((visible_gpus + 1)); fi
      done
      ;;
    "" | NoDevFiles | -1) ;;
    *)
      jaxsif_count_items "$CUDA_VISIBLE_DEVICES"
      visible_gpus=$item_count
      ;;
  esac
}

# jaxsif_local_device_ids: sets local_device_ids to the ordinals (within what this
# task can see) of the GPUs that are this task's, "0,1"; empty without a GPU. Sets
# local_device_reason to the rule that was used.
jaxsif_local_device_ids() {
  local_device_ids='' local_device_reason='no GPU is visible'
  jaxsif_visible_gpus
  if [ "$visible_gpus" -eq 0 ]; then return; fi
  jaxsif_tasks_on_node
  jaxsif_count_items "${SLURM_STEP_GPUS:-}"
  step_gpus=$item_count
  local_rank=${SLURM_LOCALID:-0}
  seen="sees $visible_gpus GPU(s), $tasks_on_node task(s) on the node"
  if [ "$tasks_on_node" -eq 1 ]; then
    first=0 count=$visible_gpus
    local_device_reason="$seen: all of them"
  elif [ "$visible_gpus" -lt "$step_gpus" ] &&
    [ $((visible_gpus * tasks_on_node)) -le "$step_gpus" ]; then
    # --gpus-per-task or --gpu-bind: what this task sees is its own.
    first=0 count=$visible_gpus
    local_device_reason="$seen, bound to the task: all of them"
  elif [ "$visible_gpus" -ge "$tasks_on_node" ]; then
    count=$((visible_gpus / tasks_on_node)) first=$((local_rank * count))
    local_device_reason="$seen: a share of $count each"
  else
    # Fewer GPUs than tasks. Overlapping binding (--gpu-bind=closest) gives every
    # task a GPU of its own; with fewer GPUs than tasks on the node some are shared.
    count=1 first=$((local_rank % visible_gpus))
    local_device_reason="$seen: GPUs are shared by tasks"
  fi
  jaxsif_sequence
}

# jaxsif_sequence: sets local_device_ids to count numbers from first on.
jaxsif_sequence() {
  local_device_ids=$first
  last=$((first + count - 1))
  while [ "$first" -lt "$last" ]; do
    first=$((first + 1))
    local_device_ids=$local_device_ids,$first
  done
}
