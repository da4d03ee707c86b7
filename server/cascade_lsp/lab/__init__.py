"""The laboratory: is the cascade worth it, by measurement, and which plan is.

Problems in, rows out, and everything that follows is computed from the rows. It judges with the
shipped `policy.decide` and gathers evidence with the shipped code, so what is measured is what
ships. `cascade serve` never loads it.
"""
