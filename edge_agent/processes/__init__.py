"""Processes: the composition roots. Only these build the parts and hand them to one another."""
