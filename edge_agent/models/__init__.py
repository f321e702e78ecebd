"""Models: bundles (what a model is), the store (which is active), vetting (may it be loaded), the encoder."""
