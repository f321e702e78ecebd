#!/usr/bin/env bash
# Sets up everything on a fresh Debian 12 or Ubuntu 22.04+ and runs the main job: broker, model, gateway, live verdicts.
#   ./deploy/try.sh                     the built-in synthetic line
#   ./deploy/try.sh --images DIR        your own pictures (class sub-folders, a manifest.csv, or just pictures)
#   ./deploy/try.sh --once N            stop after N frames with a summary
#   ./deploy/try.sh --help              all options
set -euo pipefail
cd "$(dirname "$0")/.."
. deploy/environment.sh

# A relative --images DIR means the caller's folder, not ours.
arguments=()
while [ $# -gt 0 ]; do
    case "$1" in
        --images) [ $# -ge 2 ] || fail "--images needs a folder"
            arguments+=(--images "$(cd "${OLDPWD:-.}" && realpath -m -- "$2")"); shift 2 ;;
        --images=*) arguments+=(--images "$(cd "${OLDPWD:-.}" && realpath -m -- "${1#--images=}")"); shift ;;
        *) arguments+=("$1"); shift ;;
    esac
done

ensure_environment
command -v mosquitto >/dev/null || [ -x /usr/sbin/mosquitto ] || need_apt mosquitto \
    || say "no mosquitto here: the embedded broker (iotcore) takes its place"
exec .venv/bin/python -m edge_agent demo "${arguments[@]+"${arguments[@]}"}"
