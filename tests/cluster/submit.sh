#!/usr/bin/env bash
# Loads a module, submits a job, waits for it and prints its output: submit.sh MODULE OUTPUT SBATCH-ARGUMENT...; runs on the login node.
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail

module_version=$1 output=$2
shift 2
checkout=$(dirname "$(dirname "$(dirname "$(readlink -f "$0")")")")
cd
module use "$checkout/modulefiles"
module load "$module_version"
status=0
sbatch --quiet --wait --output="$output" "$@" || status=$?
cat "$output"
rm "$output"
exit "$status"
