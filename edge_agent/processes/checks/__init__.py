"""What `edge-agent check` tries: a table of checks over every room, each against the real thing."""
