"""Device: which board this is, what it offers and allows (firmware profiles), its health, and systemd notification."""
