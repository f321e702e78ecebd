"""From many contributions to one model: exact sums, robust rules, and what a server does with their mean. Pure.

contributions --layout--> vectors --sums (exact) or robust rule (tiled)--> Average --Method.apply--> model
"""
