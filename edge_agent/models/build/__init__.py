"""Building bundles: the only place that imports torch, onnxscript and the quantiser. No gateway process loads it."""
