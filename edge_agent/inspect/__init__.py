"""Inspect: from features to a verdict: good-only models, rules of the line, where the defect is, the loop."""
