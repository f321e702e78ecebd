"""Device profiles: data, one YAML file each, read and validated by edge_agent.device.profile (see docs/devices.md)."""
