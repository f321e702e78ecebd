"""What the line says (triggers) and what the line is told (signals): Modbus TCP, OPC UA, GPIO, a unix socket."""
