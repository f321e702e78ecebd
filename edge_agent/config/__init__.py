"""Config: one YAML file to frozen settings; every fault at once, each with file, line, column, key and a hint."""
