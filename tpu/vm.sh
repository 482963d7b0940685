#!/usr/bin/env bash
# Cloud TPU VMs from your own machine: needs gcloud, signed in, and git.
#
# usage: tpu/vm.sh create NAME [options]              ask for a slice, wait, install this commit
#        tpu/vm.sh run    NAME [options] -- ARGUMENTS  d2v pretrain ARGUMENTS on all its workers
#        tpu/vm.sh resume NAME WORKDIR [options]      go on with the run in that folder
#        tpu/vm.sh status NAME [options]              the slice, and the run on each worker
#        tpu/vm.sh stop   NAME [options]              save and stop the run; the slice stays
#        tpu/vm.sh fetch  NAME FROM TO [options]      copy a folder of worker 0 or the bucket here
#        tpu/vm.sh delete NAME [options]              give the slice back
#
# options, or variables of the environment:
#   --type T      TPU_TYPE      such as v5litepod-16, v6e-8, v5p-8, v4-32
#   --zone Z      TPU_ZONE      where
#   --project P   TPU_PROJECT   default: gcloud's own
#   --bucket B    TPU_BUCKET    mounted as /mnt/bucket on every worker
#   --runtime V   TPU_RUNTIME   software version; default: by type
#   --spot                      cheaper, may be taken away; `run` and `resume` get a new one then
#   --no-queue                  create at once or fail, instead of a queued resource
#   --iap                       ssh through Identity-Aware Proxy (machines without public address)
#   --dry-run                   print the commands, touch nothing
#
# `run` and `resume` follow the log. Ctrl-C ends only the following; the same call takes it up again.
# They return when the run has ended: 0 finished, 75 after `stop`, otherwise d2v's own exit code.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
poll_s=${D2V_POLL:-30}
exec 3>&1 # where a dry run prints, also from inside $(...)
quote="'\\''"
sent=(d2v_jax configs tpu pyproject.toml setup.cfg README.md) # what a worker needs of this commit

die() {
  echo "tpu/vm.sh: $*" >&2
  exit 2
}
say() { [ "$dry" = yes ] || echo "tpu/vm.sh: $*" >&2; }
help() { sed -n '2,/^set/{/^#/s/^# \{0,1\}//p;}' "$0"; }

call() { # runs a command; with --dry-run prints it, ready to be pasted
  local word line=''
  if [ "$dry" = yes ]; then
    for word in "$@"; do
      case $word in *[!A-Za-z0-9_./:=,@%+-]* | '') word="'${word//\'/$quote}'" ;; esac
      line+="$word "
    done
    echo "${line% }" >&3
  else
    "$@"
  fi
}

tpus() { # gcloud compute tpus ...
  call gcloud compute tpus "$@" --zone "$zone" ${project:+--project "$project"} --quiet
}
reach() { # ssh|scp ...; of these two only the alpha versions know IAP
  call gcloud ${iap:+alpha} compute tpus tpu-vm "$@" --zone "$zone" \
    ${project:+--project "$project"} ${iap:+--tunnel-through-iap} --quiet
}

on() { # WORKER|all COMMAND ARGUMENT ...: every argument arrives there as it is here
  local worker=$1 line
  shift
  line=$(printf '%q ' "$@")
  reach ssh "$name" --worker "$worker" --command "${line% }"
}
worker() { on "$1" bash d2v_jax/tpu/worker.sh "${@:2}"; }

# The slice

ask() { # queued-resources|tpu-vm FORMAT: the API's word, GONE, or UNKNOWN when it does not answer
  local answer
  if [ "$dry" = yes ]; then
    tpus "$1" describe "$name" --format "$2"
  elif answer=$(tpus "$1" describe "$name" --format "$2" 2>"$scratch/why"); then
    echo "$answer"
  elif grep -qi 'not[ _]found' "$scratch/why"; then
    echo GONE
  else
    cat "$scratch/why" >&2
    echo UNKNOWN
  fi
}

state() { # READY, or why not
  local word=ACTIVE
  [ "$queue" = no ] || word=$(ask queued-resources 'value(state.state)')
  word=${word:-ACTIVE}
  if [ "$word" = ACTIVE ]; then
    word=$(ask tpu-vm 'value(state)')
    if [ "$word" = GONE ] && [ "$queue" = yes ]; then word=LOST; fi
  fi
  if [ "$dry" = yes ]; then word=$pretend; fi
  echo "$word"
}

request() {
  local version # on a line of its own: a complaint in "$(...)" would not end us
  [ -n "$type" ] || die "which TPU? add --type, such as --type v5litepod-16, or set TPU_TYPE"
  version=$(software)
  if [ "$queue" = yes ]; then
    tpus queued-resources create "$name" --node-id "$name" \
      --accelerator-type "$type" --runtime-version "$version" ${spot:+--spot}
  else
    tpus tpu-vm create "$name" --accelerator-type "$type" --version "$version" ${spot:+--spot}
  fi
  pretend=READY
}

software() {
  case ${runtime:+given}$type in
    given*) echo "$runtime" ;;
    v[234]-*) echo tpu-ubuntu2204-base ;;
    v5litepod-*) echo v2-alpha-tpuv5-lite ;;
    v5p-*) echo v2-alpha-tpuv5 ;;
    v6e-*) echo v2-alpha-tpuv6e ;;
    *) die "--type $type: which software version? add --runtime (see 'TPU software versions')" ;;
  esac
}

forget() {
  if [ "$queue" = yes ]; then
    tpus queued-resources delete "$name" --force
  else
    tpus tpu-vm delete "$name"
  fi
}

ensure() { # returns when the slice is READY; asks for it if there is none, or if it was taken away
  local now seen='' silent=0
  while :; do
    now=$(state)
    [ "$now" = "$seen" ] || say "$name: $now"
    seen=$now
    case $now in
      READY) return ;;
      GONE) request ;;
      PREEMPTED | TERMINATED | STOPPED | SUSPENDED | LOST) forget; request ;;
      FAILED) die "the request failed; see 'gcloud compute tpus queued-resources describe $name' \
--zone $zone, then 'tpu/vm.sh delete $name'" ;;
      UNKNOWN)
        silent=$((silent + 1))
        [ $silent -lt 10 ] || die "gcloud does not tell the state of $name (its words are above)"
        sleep "$poll_s" ;;
      *) sleep "$poll_s" ;; # waiting, provisioning, creating, repairing, suspending ...
    esac
  done
}

install() { # this commit, on every worker
  local archive=$scratch/d2v_jax.tar
  git -C "$here" diff --quiet HEAD -- "${sent[@]}" || say "changes that are not committed stay here"
  call git -C "$here" archive --prefix d2v_jax/ -o "$archive" HEAD "${sent[@]}" &&
    reach scp "$archive" "$name:" --worker all &&
    on all tar -xf d2v_jax.tar &&
    worker all setup tpu &&
    attach
}

attach() {
  [ -z "$bucket" ] || worker all mount "$bucket"
}

patiently() { # COMMAND ...: up to five times; a new slice may not answer ssh at once
  local try
  for try in 1 2 3 4 5; do
    if "$@"; then return; fi
    say "$1 failed ($try of 5)"
    sleep "$poll_s"
  done
  exit 1
}

# The run

run_state() { # of all workers together: running, partly, stopped, lost, none, or an exit code
  local told word
  told=$(worker all state 2>/dev/null | grep -o 'd2v-state:[a-z0-9]*' | cut -d: -f2 | sort -u)
  if [ "$dry" = yes ]; then told=$pretend_run; fi
  for word in $told; do # a code that no new run can mend says most
    case $word in 0 | 75 | 76 | [a-z]*) ;; *) echo "$word"; return ;; esac
  done
  # A worker that restarted must be started; one that has ended waits for the others to end.
  case $told in *lost*running* | *none*running*) echo partly; return ;; esac
  for word in running stopped lost 76 75 none 0; do
    if grep -qx "$word" <<<"$told"; then echo "$word"; return; fi
  done
  echo none
}

start() { # ARGUMENTS of d2v pretrain; nothing changes where it runs
  if [ "$now" = partly ]; then attach; else install; fi && worker all start "$@"
}

train() { # ARGUMENTS of d2v pretrain
  local now lines=50 failures=0 began
  trap 'say "no longer watching; what runs there goes on. To watch again: the same command"; exit 130' INT
  while [ $failures -lt 5 ]; do
    ensure
    began=$SECONDS
    now=$(run_state || true)
    if [ "$now" != running ] && ! start "$@"; then
      failures=$((failures + 1))
      say "could not start on all workers ($failures of 5)"
      sleep "$poll_s"
      continue
    fi
    while worker 0 follow "$lines" || true; do
      lines=0
      pretend_run=0
      now=$(run_state || true)
      [ "$now" = running ] || break
    done
    lines=50
    say "the run is: $now"
    case $now in
      0) return ;;
      stopped) exit 75 ;;
      75 | 76 | lost | none | partly) ;;
      *)
        if [ "$now" -lt 128 ] || { sleep "$poll_s"; [ "$(state)" = READY ]; }; then
          worker all stop || true
          say "exit code $now is final; the log above, or ~/d2v_run/log of each worker, says why"
          exit "$now"
        fi ;; # a signal, and the slice is going away
    esac
    if [ $((SECONDS - began)) -lt 900 ]; then failures=$((failures + 1)); else failures=0; fi
    sleep "$poll_s"
  done
  say "five failures in a row; see the log above and: tpu/vm.sh status $name"
  exit 1
}

check_workdir() { # the arguments of d2v pretrain must say where to save, and where it survives
  local before='' workdir='' word
  for word in "$@"; do
    [ "$before" != --workdir ] || workdir=$word
    case $word in --workdir=*) workdir=${word#*=} ;; esac
    before=$word
  done
  case $workdir in
    '') die "d2v pretrain needs --workdir, such as --workdir gs://BUCKET/runs/a" ;;
    gs://*) ;;
    /mnt/bucket*) [ -n "$bucket" ] || die "--workdir $workdir: which bucket? add --bucket or set TPU_BUCKET" ;;
    *) [ -z "$spot" ] || die "--workdir $workdir is lost with a spot slice; use gs://BUCKET/..." ;;
  esac
}

fetch() { # FROM TO
  call mkdir -p "$2"
  case $1 in
    gs://*) call gcloud storage rsync --recursive "$1" "$2" ${project:+--project "$project"} ;;
    /mnt/bucket/*)
      [ -n "$bucket" ] || die "fetch $1: which bucket? add --bucket or set TPU_BUCKET"
      call gcloud storage rsync --recursive "gs://$bucket/${1#/mnt/bucket/}" "$2" \
        ${project:+--project "$project"} ;;
    *) reach scp --recurse --worker 0 "$name:$1" "$2" ;;
  esac
}

# The command line

type=${TPU_TYPE:-} zone=${TPU_ZONE:-} project=${TPU_PROJECT:-} bucket=${TPU_BUCKET:-}
runtime=${TPU_RUNTIME:-} spot='' iap='' queue=yes dry=no pretend=READY pretend_run=none
words=()
while [ $# -gt 0 ]; do
  case $1 in
    --type | --zone | --project | --bucket | --runtime)
      case ${2:--} in -*) die "$1 needs a value" ;; esac
      printf -v "${1#--}" %s "$2"
      shift ;;
    --spot | --iap) printf -v "${1#--}" yes ;;
    --no-queue) queue=no ;;
    --dry-run) dry=yes ;;
    --help | -h) help; exit ;;
    --) shift; break ;;
    -*) die "$1 is no option of vm.sh; arguments of d2v come after --" ;;
    *) words+=("$1") ;;
  esac
  shift
done
# Now "$@" is what came after --.
task=${words[0]:-} name=${words[1]:-}
bucket=${bucket#gs://} bucket=${bucket%/}
case $task in create | run | resume | status | stop | fetch | delete) ;; *) help >&2; exit 2 ;; esac
[ -n "$name" ] || die "$task needs the NAME of a slice"
case $task in resume) want=3 ;; fetch) want=4 ;; *) want=2 ;; esac
[ ${#words[@]} = $want ] || die "$task: ${#words[@]} words where $want are due (arguments of d2v come after --)"
[ -n "$zone" ] || die "which zone? add --zone, such as --zone us-central1-a, or set TPU_ZONE"
[ "$dry" = yes ] || command -v gcloud >/dev/null || die "gcloud is missing; see https://cloud.google.com/sdk/docs/install"

if [ "$dry" = yes ]; then
  scratch=${TMPDIR:-/tmp}
else
  scratch=$(mktemp -d)
  trap 'rm -rf "$scratch"' EXIT
fi

case $task in
  create) pretend=GONE; ensure; patiently install ;;
  run) check_workdir "$@"; train "$@" ;;
  resume) check_workdir --workdir "${words[2]}"; train --workdir "${words[2]}" "$@" ;;
  status) say "$name: $(state)"; worker all state || true ;;
  stop) worker all stop ;;
  fetch) fetch "${words[2]}" "${words[3]}" ;;
  delete) forget ;;
esac
