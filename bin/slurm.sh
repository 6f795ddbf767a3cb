# Submits jobs, waits for their ends, and takes them back; sourced by the programs beside it, on a login node.
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh disable=SC2034 # job, state and status are read by whoever sources it

look_every_s=${JAX_SIF_LOOK_EVERY_S:-2}
# So long Slurm may not answer, before nobody waits for it any more.
patience_s=${JAX_SIF_PATIENCE_S:-3600}
heard_s=$(date +%s) said_silent=''

# Jobs that have not ended, as far as is known.
submitted=''

need_slurm() {
  if command -v sbatch > /dev/null; then return; fi
  echo 'jax-sif: error: there is no sbatch here; run this on a login node' >&2
  exit 2
}

# give_up STATUS: takes along what has been submitted.
give_up() {
  trap - INT TERM
  if [ -n "$submitted" ]; then
    # shellcheck disable=SC2086 # a word a job
    if scancel $submitted; then
      printf '\njax-sif: cancelled:%s\n' "$submitted" >&2
    else
      printf '\njax-sif: could not cancel; say it again: scancel%s\n' "$submitted" >&2
    fi
  fi
  exit "$1"
}
trap 'give_up 130' INT
trap 'give_up 143' TERM

# submit OPTION...: submits a script, a file or the standard input; sets job to its number.
submit() {
  # One assignment: a signal waits for its end, and finds the job noted.
  if ! submitted="$submitted $(ask_sbatch "$@")"; then
    submitted=${submitted% }
    return 1
  fi
  job=${submitted##* }
}

ask_sbatch() {
  # A signal would take the answer away from a job that is submitted.
  trap '' INT TERM
  answer=$(sbatch --parsable "$@") || exit
  answer=${answer%%;*}
  case $answer in
    '' | *[!0-9]*)
      echo "jax-sif: error: sbatch answers '$answer', and not the number of a job" >&2
      exit 1
      ;;
  esac
  printf '%s\n' "$answer"
}

# wait_for JOB: sets state, Slurm's word for how it ended, and status, its exit status as a
# shell says it: 3 where that is no proof of anything.
wait_for() {
  forgotten=0
  while :; do
    # State, exit status, signal.
    answer=$(ask_scontrol "$1") || :
    state=${answer%% *}
    case $state in
      '')
        if ! has_patience; then
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
    if [ -n "$state" ]; then heard_s=$(date +%s) said_silent=''; fi
    sleep "$look_every_s"
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
  # Cancelled before it began, stopped at its time limit: nothing was found.
  case $1 in
    COMPLETED | FAILED) ;;
    *) if [ "$status" -eq 0 ]; then status=3; fi ;;
  esac
}

# ask_scontrol JOB: its state, exit status and signal; nothing where Slurm does not answer.
ask_scontrol() {
  if told=$(scontrol --oneliner show job "$1" 2>&1); then
    printf '%s\n' "$told" \
      | sed -n 's/.* JobState=\([A-Z_]*\) .* ExitCode=\([0-9]*\):\([0-9]*\) .*/\1 \2 \3/p'
    return
  fi
  # Slurm keeps a job that has ended for minutes (MinJobAge), its accounting for longer.
  case $told in *'Invalid job id'*) ask_sacct "$1" ;; esac
}

ask_sacct() { # JOB
  told=$(sacct --noheader --parsable2 --allocations --jobs="$1" --format=State,ExitCode \
    2> /dev/null) || told=
  told=$(printf '%s\n' "$told" \
    | sed -n 's/^\([A-Z_]*\)[^|]*|\([0-9]*\):\([0-9]*\)$/\1 \2 \3/p')
  printf '%s\n' "${told:-FORGOTTEN 3 0}"
}

# A controller may be restarted, or busy, without an end to the waiting.
has_patience() {
  silent_s=$(($(date +%s) - heard_s))
  if [ "$silent_s" -ge "$patience_s" ]; then
    if [ "$said_silent" != end ]; then
      said_silent=end
      echo "jax-sif: Slurm has not answered for $silent_s s, and nobody waits any more;" \
        "these jobs may run on:$submitted" >&2
    fi
    return 1
  fi
  if [ -z "$said_silent" ] && [ "$silent_s" -ge 30 ]; then
    said_silent=waiting
    echo "jax-sif: Slurm does not answer (scontrol show job); waiting for it" >&2
  fi
}

# has_output FILE: whether a job has written anything. A shared file system may show it late.
has_output() {
  looks=0
  until [ -s "$1" ]; do
    looks=$((looks + 1))
    if [ "$looks" -gt 3 ]; then return 1; fi
    sleep "$look_every_s"
  done
}
