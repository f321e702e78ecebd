"""Edge Agent: the runtime for AI on factory gateways. See docs/architecture.md for the map of rooms."""

__version__ = "0.1.0"
