"""Locks for CSI cameras, as properties of NVIDIA's nvarguscamerasrc (GStreamer). Pure; untested on hardware.

From the element's own description (gst-inspect-1.0 nvarguscamerasrc, JetPack 4 to 6):

    exposuretimerange="LOW HIGH"    nanoseconds; LOW = HIGH leaves automatic exposure no choice
    gainrange="LOW HIGH"            analogue gain as a factor; ispdigitalgainrange likewise, 1 to 256
    wbmode=N                        0 off, 1 auto, 2 incandescent, 3 fluorescent, 4 warm fluorescent, 5 daylight, ...

`aelock` and `awblock` are left alone: they freeze whatever value the camera happens to have when it starts.
"""

from __future__ import annotations

from edge_agent.capture.controls import Controls

# wbmode -> the colour temperature of its light, in kelvin: the modes are Android's, which names the CIE illuminants
# A, F2, F4 and D65 for them (CaptureRequest.CONTROL_AWB_MODE). The others have no stated temperature.
_WHITE_BALANCE_K = {2: 2856, 3: 4230, 4: 2940, 5: 6504}


def properties(controls: Controls) -> str:
    """What to write behind `nvarguscamerasrc`; empty when nothing is to be locked. There is no focus here, and white
    balance takes the nearest of four lights.
    """
    words = []
    if controls.exposure_us is not None:
        nanoseconds = round(controls.exposure_us * 1000)
        words.append(f'exposuretimerange="{nanoseconds} {nanoseconds}"')
    if controls.gain_db is not None:
        factor = 10 ** (controls.gain_db / 20)
        words.append(f'gainrange="{factor:.4g} {factor:.4g}" ispdigitalgainrange="1 1"')
    if controls.white_balance_k is not None:
        wanted = controls.white_balance_k
        mode = min(_WHITE_BALANCE_K, key=lambda mode: abs(_WHITE_BALANCE_K[mode] - wanted))
        words.append(f"wbmode={mode}")
    return " ".join(words)
