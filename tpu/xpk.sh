#!/usr/bin/env bash
# One run as a workload of a GKE cluster made by XPK (pip install xpk).
#
# usage: tpu/xpk.sh NAME [options] -- ARGUMENTS of d2v pretrain
#
# options, or variables of the environment:
#   --cluster C   XPK_CLUSTER   made with `xpk cluster create --spot --num-slices=1 --tpu-type=T`
#   --type T      TPU_TYPE      such as v6e-16
#   --zone Z      TPU_ZONE
#   --project P   TPU_PROJECT
#   --storage S   XPK_STORAGE   made with `xpk storage attach`; --workdir lies below its mount point
#   --slices N                  several slices; gradients are summed over the data centre's network
#   --dry-run                   print the commands, touch nothing
#
# The cluster starts all pods again when one ends with 75 or 76; any other code ends the workload.
# The same command with another NAME and the same --workdir resumes. Logs and the end:
#   kubectl logs -f -l xpk.google.com/workload=NAME
#   xpk workload delete --workload NAME --cluster C --zone Z --project P
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
die() { echo "tpu/xpk.sh: $*" >&2; exit 2; }
call() {
  if [ "$dry" = yes ]; then { printf '%q ' "$@"; echo; } else "$@"; fi
}

cluster=${XPK_CLUSTER:-} type=${TPU_TYPE:-} zone=${TPU_ZONE:-} project=${TPU_PROJECT:-}
storage=${XPK_STORAGE:-} slices=1 dry=no name=''
while [ $# -gt 0 ]; do
  case $1 in
    --cluster | --type | --zone | --project | --storage | --slices)
      case ${2:--} in -*) die "$1 needs a value" ;; esac
      printf -v "${1#--}" %s "$2"
      shift ;;
    --dry-run) dry=yes ;;
    --help | -h) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p;}' "$0"; exit ;;
    --) shift; break ;;
    -*) die "$1 is no option of xpk.sh; arguments of d2v come after --" ;;
    *) [ -z "$name" ] || die "two names, $name and $1; arguments of d2v come after --"
       name=$1 ;;
  esac
  shift
done
[ -n "$name" ] || die "which NAME for the workload?"
[ -n "$cluster" ] || die "which cluster? add --cluster or set XPK_CLUSTER"
[ -n "$type" ] || die "which TPU? add --type, such as --type v6e-16, or set TPU_TYPE"
[ -n "$zone" ] || die "which zone? add --zone or set TPU_ZONE"
[ -n "$project" ] || die "which project? add --project or set TPU_PROJECT"
case " $* " in
  *" --workdir "* | *" --workdir="*) ;;
  *) die "d2v pretrain needs --workdir, below the mount point of --storage" ;;
esac
[ "$dry" = yes ] || command -v xpk >/dev/null || die "xpk is missing; pip install xpk"

folder=${TMPDIR:-/tmp}/d2v_jax_xpk
if [ "$dry" = no ]; then
  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' EXIT
fi
call mkdir -p "$folder/code"
call git -C "$here" archive -o "$folder/code.tar" HEAD \
  d2v_jax configs tpu pyproject.toml setup.cfg README.md
call tar -xf "$folder/code.tar" -C "$folder/code"

# `exec`: the process that XPK sends SIGTERM is then d2v itself. One line, as it becomes YAML.
d2v=(.venv/bin/d2v pretrain --distributed auto --start-timeout 1800 "$@")
command="bash tpu/worker.sh setup tpu && exec $(printf '%q ' "${d2v[@]}")"
call xpk workload create --workload "$name" --cluster "$cluster" --zone "$zone" \
  --project "$project" --tpu-type "$type" --num-slices "$slices" \
  --base-docker-image python:3.12 --script-dir "$folder/code" ${storage:+--storage "$storage"} \
  --max-restarts 100 --restart-on-exit-codes 75,76 --termination-grace-period-seconds 120 \
  --command "${command% }"
