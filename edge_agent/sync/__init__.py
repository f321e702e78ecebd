"""Sync: the doors to the network (outbox, inbox), topics, payloads, the one MQTT connection. Never sees a picture."""
