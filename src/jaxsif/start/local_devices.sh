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

# jaxsif_binding: sets binding to how Slurm tied GPUs to tasks: own (each task sees
# GPUs that no other task sees), closest (tasks near the same GPUs see the same ones),
# or none (every task of the step sees all of the step's GPUs on the node).
jaxsif_binding() {
  binding=none
  case ${SLURM_TRES_BIND:-${SLURM_GPU_BIND:-}} in
    *none*) ;;
    *closest*) binding=closest ;;
    *per_task* | *single* | *map* | *mask*) binding=own ;;
    # Before Slurm wrote down its binding, --gpus-per-task implied one.
    "") if [ -n "${SLURM_GPUS_PER_TASK:-}" ]; then binding=own; fi ;;
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
  jaxsif_binding
  # How many tasks divide among them what this one sees.
  case $binding in
    own) sharers=1 ;;
    closest)
      node_gpus=${SLURM_GPUS_ON_NODE:-$visible_gpus}
      sharers=$((visible_gpus * tasks_on_node / node_gpus))
      ;;
    none) sharers=$tasks_on_node ;;
  esac
  if [ "$sharers" -le 1 ]; then
    first=0 count=$visible_gpus
  elif [ "$visible_gpus" -ge "$sharers" ]; then
    count=$((visible_gpus / sharers))
    first=$(((${SLURM_LOCALID:-0} % sharers) * count))
  else
    # More tasks than GPUs: the ordinals exist, and the verdict names the sharing ranks.
    count=1 first=$((${SLURM_LOCALID:-0} % visible_gpus))
  fi
  local_device_reason="sees $visible_gpus GPU(s), shared by $sharers of\
 $tasks_on_node task(s) on the node, binding $binding"
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
