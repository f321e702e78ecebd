"""ONVIF, as little of it as we need: find network cameras, and ask one which camera it is."""
