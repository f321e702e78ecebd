"""Demo: a broker, a gateway and a line on this machine, for `edge-agent demo` and deploy/try.sh."""
