#!/bin/sh
# What a board says of itself, as text to paste into an issue: it completes the table in docs/devices.md.
#
#     sh deploy/probe-device.sh > board.txt
#
# Reads files and asks installed programs; changes nothing, needs no root, no network and no camera. Serial numbers,
# host names, addresses and keys are not read. PYTHON names another Python (of the agent's environment), PROBE_ROOT
# another root folder (a recorded tree).
set -u

ROOT=${PROBE_ROOT:-}
PYTHON=${PYTHON:-python3}

section() { printf '\n## %s\n' "$1"; }

# A file as one line: a device tree separates texts by NUL. Only what can be printed comes out.
line() { { tr '\000\n' '  ' <"$1"; } 2>/dev/null | tr -cd '[:print:]' | sed 's/ *$//'; }

# name: content, or that there is no such file.
show() {
    if [ -r "$ROOT$2" ]; then printf '%s: %s\n' "$1" "$(line "$ROOT$2")"; else printf '%s: -\n' "$1"; fi
}

# The first that is there of two places for a property of the device tree.
property() {
    if [ -r "$ROOT/proc/device-tree/$1" ]; then show "$1" "/proc/device-tree/$1"
    else show "$1" "/sys/firmware/devicetree/base/$1"; fi
}

# A program's own words, or that it is missing.
ask() {
    if command -v "$1" >/dev/null 2>&1; then "$@" 2>&1 </dev/null || printf '%s: failed\n' "$1"
    else printf '%s: not installed\n' "$1"; fi
}

machine() {
    section machine
    printf 'uname -m: %s\nkernel: %s\n' "$(uname -m)" "$(uname -r)"
    sed -n 's/^PRETTY_NAME=/system: /p' "$ROOT/etc/os-release" 2>/dev/null
    printf 'processors: %s\n' "$(grep -c '^processor' "$ROOT/proc/cpuinfo" 2>/dev/null)"
    # Named fields only: /proc/cpuinfo of some boards holds a serial number.
    sed -n -E '/^(model name|Model|CPU part|Features|flags)[[:space:]]*:/p' "$ROOT/proc/cpuinfo" 2>/dev/null | sort -u
    sed -n '/^MemTotal/p' "$ROOT/proc/meminfo" 2>/dev/null
}

device_tree() {
    section 'device tree'
    for name in model compatible nvidia,boardids nvidia,dtsfilename; do property "$name"; done
}

release() {
    section release
    printf 'nv_tegra_release: %s\n' "$(sed -n 1p "$ROOT/etc/nv_tegra_release" 2>/dev/null)"
    show 'NVIDIA driver' /proc/driver/nvidia/version
    command -v dpkg-query >/dev/null 2>&1 || return 0
    dpkg-query -W -f='${Package} ${Version} ${db:Status-Status}\n' nvidia-l4t-core nvidia-jetpack 'libnvinfer[0-9]*' \
        'libcudnn[0-9]*' 'cuda-cudart-[0-9]*' python3-opencv systemd 2>/dev/null | sed -n 's/ installed$//p'
}

power_modes() {
    section 'power modes'
    sed -n -E '/^<[[:space:]]*(POWER_MODEL|PM_CONFIG)[[:space:]]/p' "$ROOT/etc/nvpmodel.conf" 2>/dev/null
    show 'nvpmodel status' /var/lib/nvpmodel/status
    ask nvpmodel -q
}

sensors() {
    section 'thermal zones'
    for zone in "$ROOT"/sys/devices/virtual/thermal/thermal_zone* "$ROOT"/sys/class/thermal/thermal_zone*; do
        [ -r "$zone/type" ] && printf '%s: %s m°C\n' "$(line "$zone/type")" "$(line "$zone/temp")"
    done | sort -u
    section 'monitors (hwmon)'
    for monitor in "$ROOT"/sys/class/hwmon/hwmon* "$ROOT"/sys/bus/i2c/devices/*/hwmon/hwmon*; do
        [ -d "$monitor" ] || continue
        printf '%s:' "$(line "$monitor/name")"
        for file in "$monitor"/in*_label "$monitor"/oc*_event_cnt; do
            [ -r "$file" ] && printf ' %s=%s' "${file##*/}" "$(line "$file")"
        done
        printf '\n'
    done | sort -u
    section 'GPU load (devfreq)'
    for device in "$ROOT"/sys/class/devfreq/*; do
        [ -d "$device" ] || continue
        printf '%s: name %s, load %s\n' "${device##*/}" "$(line "$device/device/of_node/name")" "$(line "$device/device/load")"
    done
}

runtime() {
    section 'ONNX Runtime and OpenCV'
    ask "$PYTHON" -c '
import sys
print("Python", sys.version.split()[0])
try:
    import onnxruntime
    print("onnxruntime", onnxruntime.__version__, *onnxruntime.get_available_providers())
except (ImportError, OSError) as error:
    print("onnxruntime:", type(error).__name__)
try:
    import cv2
    lines = [line.strip() for line in cv2.getBuildInformation().splitlines()]
    print("cv2", cv2.__version__, *[line for line in lines if line.startswith("GStreamer:")])
except (ImportError, OSError) as error:
    print("cv2:", type(error).__name__)
'
}

printf '# Edge Agent: what this board says of itself\n'
machine
device_tree
release
power_modes
sensors
runtime
exit 0
