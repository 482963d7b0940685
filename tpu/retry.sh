#!/usr/bin/env bash
# Runs a command again and again while it ends with 75 (stopped, everything saved) or 76 (another
# process was lost); any other exit code is final and becomes that of this script.
#
# usage: tpu/retry.sh COMMAND [ARGUMENT ...]
#
# SIGTERM and SIGINT are passed on as SIGTERM, and the command is not run again. So are five ends
# in a row that each came within D2V_RETRY_SOON seconds: something is wrong that time does not heal.
set -euo pipefail

wait_s=${D2V_RETRY_WAIT:-20} # seconds between two runs
soon_s=${D2V_RETRY_SOON:-900}
[ $# -gt 0 ] || { echo "usage: retry.sh COMMAND [ARGUMENT ...]" >&2; exit 2; }
[ -z "${D2V_EXIT_FILE:-}" ] || trap 'echo "$?" >"$D2V_EXIT_FILE"' EXIT # for those who ask later

child='' stopped='' early=0
stop() {
  stopped=yes
  [ -z "$child" ] || kill -TERM "$child" 2>/dev/null || true
}
trap stop TERM INT

result_of() { # sets `code`; a signal to us ends `wait` early, so it is called until the child is gone
  local again
  while :; do
    code=0
    wait "$1" || code=$?
    kill -0 "$1" 2>/dev/null || break
  done
  if [ "$code" -gt 128 ] && [ -n "$stopped" ]; then
    again=0
    wait "$1" 2>/dev/null || again=$?
    [ "$again" = 127 ] || code=$again
  fi
}

while :; do
  began=$SECONDS
  "$@" &
  child=$!
  [ -z "$stopped" ] || stop # a signal between the last check and the start
  result_of "$child"
  child=''
  case $code in 75 | 76) ;; *) exit "$code" ;; esac
  [ -z "$stopped" ] || exit "$code"
  if [ $((SECONDS - began)) -lt "$soon_s" ]; then early=$((early + 1)); else early=0; fi
  if [ "$early" -ge 5 ]; then
    echo "retry.sh: exit code $code, five times in a row and soon; not run again" >&2
    exit "$code"
  fi
  echo "retry.sh: exit code $code, run again in $wait_s s" >&2
  sleep "$wait_s" &
  wait $! || true # ends at once on a signal
  [ -z "$stopped" ] || exit "$code"
done
