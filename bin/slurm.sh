# Submits jobs, waits for them, and cancels them on a signal; sourced, on a login node.
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh disable=SC2034 # job, state and status are read by the sourcing script

poll_interval_s=${JAX_SIF_POLL_INTERVAL_S:-2}
# Give up when Slurm has not responded for this long.
timeout_s=${JAX_SIF_SLURM_TIMEOUT_S:-3600}
last_response_s=$(date +%s) warned_no_response=''

# Submitted jobs that are not known to have ended.
submitted=''

need_slurm() {
  if command -v sbatch > /dev/null; then return; fi
  echo 'jax-sif: error: there is no sbatch here; run this on a login node' >&2
  exit 2
}

# cancel_and_exit STATUS: cancels all submitted jobs and exits.
cancel_and_exit() {
  trap - INT TERM
  if [ -n "$submitted" ]; then
    # shellcheck disable=SC2086 # one word per job
    if scancel $submitted; then
      printf '\njax-sif: cancelled:%s\n' "$submitted" >&2
    else
      printf '\njax-sif: could not cancel; try again: scancel%s\n' "$submitted" >&2
    fi
  fi
  exit "$1"
}
trap 'cancel_and_exit 130' INT
trap 'cancel_and_exit 143' TERM

# submit OPTION...: submits a script file or standard input; sets job to its id.
submit() {
  # One assignment: a signal is handled after it, when the job is in the list.
  if ! submitted="$submitted $(ask_sbatch "$@")"; then
    submitted=${submitted% }
    return 1
  fi
  job=${submitted##* }
}

ask_sbatch() {
  # A signal here would lose the id of a submitted job.
  trap '' INT TERM
  answer=$(sbatch --parsable "$@") || exit
  answer=${answer%%;*}
  case $answer in
    '' | *[!0-9]*)
      echo "jax-sif: error: sbatch printed '$answer' instead of a job id" >&2
      exit 1
      ;;
  esac
  printf '%s\n' "$answer"
}

# wait_for JOB: sets state, Slurm's final state of the job, and status, its exit status as in
# a shell: 3 if that proves nothing.
wait_for() {
  forgotten=0
  while :; do
    # State, exit status, signal.
    answer=$(ask_scontrol "$1") || :
    state=${answer%% *}
    case $state in
      '')
        if ! slurm_responds_in_time; then
          answer='UNKNOWN 3 0' state=UNKNOWN
          break
        fi
        ;;
      FORGOTTEN)
        # Its accounting may be late, or there is none.
        forgotten=$((forgotten + 1))
        if [ "$forgotten" -gt 5 ]; then break; fi
        ;;
      BOOT_FAIL | CANCELLED | COMPLETED | DEADLINE | FAILED | NODE_FAIL | OUT_OF_MEMORY | \
        PREEMPTED | TIMEOUT) break ;;
    esac
    if [ -n "$state" ]; then last_response_s=$(date +%s) warned_no_response=''; fi
    sleep "$poll_interval_s"
  done
  submitted=" ${submitted# } "
  submitted=${submitted%%" $1 "*}" "${submitted#*" $1 "}
  submitted=${submitted% }
  exit_of "$answer"
}

exit_of() { # ANSWER
  # shellcheck disable=SC2086 # three words
  set -- $1
  status=${2:-3}
  if [ "${3:-0}" -ne 0 ]; then status=$((128 + $3)); fi
  # Cancelled before it began, or stopped at its time limit: no result.
  case $1 in
    COMPLETED | FAILED) ;;
    *) if [ "$status" -eq 0 ]; then status=3; fi ;;
  esac
}

# ask_scontrol JOB: prints state, exit status and signal; nothing if Slurm does not respond.
ask_scontrol() {
  if output=$(scontrol --oneliner show job "$1" 2>&1); then
    printf '%s\n' "$output" \
      | sed -n 's/.* JobState=\([A-Z_]*\) .* ExitCode=\([0-9]*\):\([0-9]*\) .*/\1 \2 \3/p'
    return
  fi
  # Slurm keeps a job that has ended for minutes (MinJobAge), its accounting for longer.
  case $output in *'Invalid job id'*) ask_sacct "$1" ;; esac
}

ask_sacct() { # JOB
  output=$(sacct --noheader --parsable2 --allocations --jobs="$1" --format=State,ExitCode \
    2> /dev/null) || output=
  output=$(printf '%s\n' "$output" \
    | sed -n 's/^\([A-Z_]*\)[^|]*|\([0-9]*\):\([0-9]*\)$/\1 \2 \3/p')
  printf '%s\n' "${output:-FORGOTTEN 3 0}"
}

# A controller that is restarted or busy does not end the waiting.
slurm_responds_in_time() {
  silent_s=$(($(date +%s) - last_response_s))
  if [ "$silent_s" -ge "$timeout_s" ]; then
    if [ "$warned_no_response" != end ]; then
      warned_no_response=end
      echo "jax-sif: Slurm has not responded for $silent_s s; giving up;" \
        "these jobs may still be running:$submitted" >&2
    fi
    return 1
  fi
  if [ -z "$warned_no_response" ] && [ "$silent_s" -ge 30 ]; then
    warned_no_response=waiting
    echo "jax-sif: Slurm does not respond (scontrol show job); waiting for it" >&2
  fi
}

# has_output FILE: whether a job has written output. A shared file system may show it late.
has_output() {
  tries=0
  until [ -s "$1" ]; do
    tries=$((tries + 1))
    if [ "$tries" -gt 3 ]; then return 1; fi
    sleep "$poll_interval_s"
  done
}
