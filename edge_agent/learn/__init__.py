"""Learn: sums over labelled features, and the head they give. Pure; knows nothing of pictures."""
