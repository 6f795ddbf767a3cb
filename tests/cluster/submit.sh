#!/usr/bin/env bash
# Loads a module, submits a job, waits for it, prints its output and its verdict file: submit.sh MODULE OUTPUT SBATCH-ARGUMENT...; runs on the login node.
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail

module_version=$1 output=$2
shift 2
checkout=$(dirname "$(dirname "$(dirname "$(readlink -f "$0")")")")
cd
module use "$checkout/modulefiles"
module load "$module_version"

# Not `sbatch --wait`, which looks every ten seconds.
started_at=
job=$(sbatch --parsable --output="$output" "$@")
completing=0
while :; do
  shown=$(scontrol --oneliner show job "$job")
  [[ $shown =~ \ JobState=([A-Z_]+) ]]
  state=${BASH_REMATCH[1]}
  if [[ -z $started_at && $state != PENDING ]]; then started_at=$(date +%s.%N); fi
  case $state in
    PENDING | CONFIGURING | RUNNING | SUSPENDED | REQUEUED) sleep 0.1 ;;
    COMPLETING)
      # Its last words come now; a node that is gone would keep it so for minutes.
      if ((++completing > 80)); then break; fi
      sleep 0.1
      ;;
    *) break ;;
  esac
done
[[ $shown =~ \ ExitCode=([0-9]+):([0-9]+) ]]
status=${BASH_REMATCH[1]}
# Ended by a signal, as a shell says it.
if ((BASH_REMATCH[2])); then status=$((128 + BASH_REMATCH[2])); fi
# A job may have been given another place for its output.
spoken_at=$started_at
if [[ -e $output ]]; then
  cat "$output"
  spoken_at=$(stat -c %.3Y "$output")
  rm "$output"
fi
echo "submit.sh: $started_at $spoken_at ($job)"
if [[ -e ${JAX_SIF_VERDICT_FILE:-} ]]; then cat "$JAX_SIF_VERDICT_FILE"; fi
exit "$status"
