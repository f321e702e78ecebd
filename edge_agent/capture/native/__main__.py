"""The camera process, run as a file: `python3 -I .../native/__main__.py MEMORY_FD DAEMON_PID`; its socket is stdin.

Only the package's own folder is made known, as `edge_agent`: with the folder that holds the package on the path,
another Python would find numpy and PyGObject that were built for ours.
"""

from __future__ import annotations

import os
import sys
import types

package = types.ModuleType("edge_agent")
package.__path__ = [os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))]  # noqa: PTH100, PTH120 - pathlib costs 10 ms of every start
sys.modules["edge_agent"] = package

from edge_agent.capture.native.child import main  # noqa: E402 - the package is known only now

main(int(sys.argv[1]), int(sys.argv[2]))
