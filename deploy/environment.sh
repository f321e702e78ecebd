# Sourced by deploy/try.sh and tests/run.sh: makes .venv at the project's root from deploy/requirements.lock.
# Works as root or not, twice, and offline the second time: what is there and matches the lock is left alone.

say() { printf '\033[1m==>\033[0m %s\n' "$*"; }
fail() { printf '\033[31merror:\033[0m %s\n' "$*" >&2; exit 1; }

# As root on Debian or Ubuntu: install the packages that are missing. Otherwise say what would be needed and go on.
need_apt() {
    local missing=() package
    for package in "$@"; do
        dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return 0
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        say "installing ${missing[*]} (apt)"
        { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
            "${missing[@]}" >/dev/null; } || { say "apt could not install ${missing[*]}"; return 1; }
    else
        say "not installed, and no right to install: ${missing[*]}"
        return 1
    fi
}

# The first Python >= 3.10; 3.11 before others, since the lock was made with it.
find_python() {
    local name
    for name in "${EDGE_AGENT_PYTHON:-}" python3.11 python3 python3.12 python3.13 python3.10; do
        [ -n "$name" ] && command -v "$name" >/dev/null || continue
        "$name" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null && { command -v "$name"; return 0; }
    done
    return 1
}

# ensure_environment: .venv with the locked packages and this checkout installed in it (editable).
ensure_environment() {
    local python stamp wanted
    python=$(find_python) || {
        need_apt python3 python3-venv || fail "Python 3.10 or newer was not found; install python3 and python3-venv"
        python=$(find_python) || fail "the system's Python is older than 3.10; set EDGE_AGENT_PYTHON=/path/to/python3"
    }
    stamp=.venv/.locked
    wanted=$(cat deploy/requirements.lock pyproject.toml | sha256sum | cut -d' ' -f1)
    if [ -x .venv/bin/python ] && [ "$(cat $stamp 2>/dev/null)" = "$wanted" ]; then
        say "environment: .venv matches deploy/requirements.lock"
        return 0
    fi
    if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
        say "environment: making .venv with $("$python" --version)"
        if ! "$python" -m venv .venv 2>/dev/null; then
            rm -rf .venv
            need_apt python3-venv && "$python" -m venv .venv \
                || fail "'$python -m venv' does not work; install python3-venv and run this again"
        fi
    fi
    say "environment: installing $(grep -c '==' deploy/requirements.lock) pinned packages (torch is the large one)"
    .venv/bin/python -m pip install --disable-pip-version-check $(pip_display) \
        -r deploy/requirements.lock || fail "pip could not install the pinned packages; the lines above say which"
    .venv/bin/python -m pip install --disable-pip-version-check -q --no-deps --no-build-isolation -e . \
        || fail "pip could not install this checkout"
    echo "$wanted" > $stamp
}

# pip draws a bar for each download in a terminal; a log file gets errors only.
pip_display() { if [ -t 1 ]; then echo --progress-bar on; else echo --quiet; fi; }
