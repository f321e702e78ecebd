"""A real RTSP camera on loopback: GStreamer's RTSP server with an H.264 or H.265 encoder, in a child process.

The child runs on the system's Python, where Debian and Ubuntu install the GStreamer bindings.
"""

import os
import signal
import subprocess
import sys

SYSTEM_PYTHON = "/usr/bin/python3"
PACKAGES = (
    "gir1.2-gst-rtsp-server-1.0 python3-gi gstreamer1.0-plugins-base gstreamer1.0-plugins-good"
    " gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly"
)
# Codec -> element that encodes, the rest of its settings, element that makes packets. No picture waits in the encoder,
# and a key frame comes each half second: like a camera that is set up for machine vision.
CODECS = {
    "h264": ("x264enc", "tune=zerolatency speed-preset=ultrafast", "rtph264pay"),
    # Without these options x265 starts a pool of threads for each stream and holds pictures back for them.
    "h265": (
        "x265enc",
        "tune=zerolatency speed-preset=ultrafast log-level=none option-string=pools=none:frame-threads=1",
        "rtph265pay",
    ),
}


class RtspServer:
    """One stream `rtsp://127.0.0.1:PORT/stream1`. A context manager: leaving it kills the child."""

    def __init__(self, width_px=320, height_px=240, fps=20, *, codec="h264", port=0, user=None, password=None):
        arguments = [str(word) for word in (codec, width_px, height_px, fps, port)]
        login = [f"{user}:{password}"] if user else []
        try:
            self._child = subprocess.Popen(
                [SYSTEM_PYTHON, __file__, *arguments, *login], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
        except FileNotFoundError as error:
            raise AssertionError(f"the RTSP tests need {SYSTEM_PYTHON}: apt-get install {PACKAGES}") from error
        line = self._child.stdout.readline()
        if not line.strip().isdigit():
            self._child.kill()
            _, words = self._child.communicate()
            raise AssertionError(f"the RTSP test server did not start: apt-get install {PACKAGES}\n{words}")
        self.port = int(line)

    @property
    def url(self):
        return f"rtsp://127.0.0.1:{self.port}/stream1"

    def freeze(self):
        """The camera hangs: connections stay, nothing comes (SIGSTOP)."""
        os.kill(self._child.pid, signal.SIGSTOP)

    def thaw(self):
        """It goes on as if nothing had been (SIGCONT)."""
        os.kill(self._child.pid, signal.SIGCONT)

    def kill(self):
        """Power cut (SIGKILL)."""
        if self._child.poll() is None:
            self._child.kill()
        self._child.communicate()

    def __enter__(self):
        return self

    def __exit__(self, *fault):
        self.kill()


def serve(codec, width_px, height_px, fps, port, login=""):
    """The child: print the port, serve until killed."""
    import gi

    gi.require_version("Gst", "1.0")
    gi.require_version("GstRtsp", "1.0")
    gi.require_version("GstRtspServer", "1.0")
    from gi.repository import GLib, Gst, GstRtsp, GstRtspServer

    Gst.init(None)
    encoder, settings, packer = CODECS[codec]
    for element in ("videotestsrc", encoder, packer):
        if Gst.ElementFactory.find(element) is None:
            raise SystemExit(f"GStreamer has no {element}")
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(port)
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(
        f"( videotestsrc is-live=true pattern=ball"
        f" ! video/x-raw,width={width_px},height={height_px},framerate={fps}/1"
        f" ! {encoder} {settings} key-int-max={max(1, int(fps) // 2)}"
        f" ! {packer} name=pay0 pt=96 config-interval=1 )"
    )
    factory.set_shared(True)
    if login:
        user, password = login.split(":", 1)
        auth = GstRtspServer.RTSPAuth()
        token = GstRtspServer.RTSPToken()
        token.set_string("media.factory.role", "viewer")
        auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
        server.set_auth(auth)
        permissions = GstRtspServer.RTSPPermissions()
        permissions.add_permission_for_role("viewer", "media.factory.access", True)
        permissions.add_permission_for_role("viewer", "media.factory.construct", True)
        factory.set_permissions(permissions)
        del GstRtsp
    server.get_mount_points().add_factory("/stream1", factory)
    if server.attach(None) == 0:
        raise SystemExit(f"port {port} is taken")
    print(server.get_bound_port(), flush=True)
    GLib.MainLoop().run()


if __name__ == "__main__":
    serve(*sys.argv[1:])
