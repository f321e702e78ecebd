"""Runs in a process of its own, under whichever Python has PyGObject: only the standard library and `gi` are here.

Written for Python 3.8, which is what Ubuntu 20.04 pairs with its PyGObject. docs/decisions.md says why a process.
"""
