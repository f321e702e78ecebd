"""The coordinator: rounds, aggregation, and the registry of gateways."""
