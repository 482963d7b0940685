#!/usr/bin/env bash
# What happens on a machine with accelerators. vm.sh calls it on every worker; XPK and SkyPilot use
# `setup`. Nothing here knows of a project, a zone or an account.
#
# usage: tpu/worker.sh setup [tpu|cuda13|cuda12]   Python and this repository in .venv
#        tpu/worker.sh mount BUCKET              the bucket becomes the folder /mnt/bucket
#        tpu/worker.sh start ARGUMENT ...        `d2v pretrain ARGUMENT ...`, out of reach of ssh's end
#        tpu/worker.sh follow LINES              its last lines and what comes, for ten minutes at most
#        tpu/worker.sh state                     d2v-state:running, stopped, none, lost, an exit code
#        tpu/worker.sh stop                      SIGTERM; returns when everything is saved
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
notes=${D2V_NOTES:-$HOME/d2v_run} # log, process id and exit code of the run of this machine

running() { # is the run of `pid` alive? A number alone could be anyone's after a reboot.
  [ -s "$notes/pid" ] && grep -q retry.sh "/proc/$(cat "$notes/pid")/cmdline" 2>/dev/null
}

setup() { # images of TPU VMs have Python 3.10; uv brings its own
  local uv=$HOME/.local/bin/uv
  [ -x "$uv" ] || curl -LsSf https://astral.sh/uv/install.sh | env UV_NO_MODIFY_PATH=1 sh
  cd "$root"
  "$uv" venv -q --allow-existing --python 3.12 .venv
  "$uv" pip install -q --python .venv/bin/python -e ".[${1:-tpu},gcs]"
}

mount_bucket() {
  local from=https://packages.cloud.google.com/apt
  if ! command -v gcsfuse >/dev/null; then
    curl -fsS $from/doc/apt-key.gpg | sudo tee /usr/share/keyrings/cloud.google.asc >/dev/null
    echo "deb [signed-by=/usr/share/keyrings/cloud.google.asc] $from gcsfuse-$(lsb_release -cs) main" |
      sudo tee /etc/apt/sources.list.d/gcsfuse.list >/dev/null
    sudo apt-get update -qq
    sudo apt-get install -qq -y gcsfuse
  fi
  mountpoint -q /mnt/bucket && return
  sudo mkdir -p /mnt/bucket
  sudo chown "$(id -u)" /mnt/bucket
  # No cache of names: each worker must see at once what another has saved. Checkpoints are
  # committed by renaming a folder, which buckets without hierarchical namespace must be told.
  gcsfuse --implicit-dirs --metadata-cache-ttl-secs 0 --rename-dir-limit 1000000 "$1" /mnt/bucket
}

start() { # a TPU VM's environment does not show that it is one of several, its metadata does
  if running; then
    echo "already running on $(hostname)"
    return
  fi
  mkdir -p "$notes"
  rm -f "$notes/code" "$notes/stopped"
  cd "$root"
  # Half an hour for the others to come: a host that restarts takes its time.
  D2V_EXIT_FILE=$notes/code nohup setsid "$root/tpu/retry.sh" "$root/.venv/bin/d2v" pretrain \
    --distributed auto --start-timeout 1800 "$@" >>"$notes/log" 2>&1 </dev/null &
  echo $! >"$notes/pid"
  for _ in {1..100}; do # until it goes by its own name, or whoever asks takes it for lost
    if running || [ -s "$notes/code" ]; then return; fi
    sleep 0.1
  done
}

follow() {
  running || { tail -n "$1" "$notes/log"; return; }
  timeout "${D2V_FOLLOW:-600}" tail -n "$1" -F --pid="$(cat "$notes/pid")" "$notes/log" || true
}

state() {
  local word=none
  if running; then word=running
  elif [ -e "$notes/stopped" ]; then word=stopped
  elif [ -s "$notes/code" ]; then word=$(cat "$notes/code")
  elif [ -e "$notes/pid" ]; then word=lost # killed with -9, or the machine restarted
  fi
  echo "d2v-state:$word"
}

stop() {
  running || return 0
  local pid
  pid=$(cat "$notes/pid")
  touch "$notes/stopped"
  kill -TERM "$pid"
  timeout 900 tail -f --pid="$pid" /dev/null
}

task=${1:-}
shift || true
case $task in
  mount) mount_bucket "${1:?mount needs a bucket}" ;;
  setup | start | follow | state | stop) "$task" "$@" ;;
  *) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p;}' "$0" >&2; exit 2 ;;
esac
