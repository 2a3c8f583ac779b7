"""Real processes for the demo, the benchmark and the tests: Redis, Sentinel, workers, and a log of outcomes.

Not part of the wheel. Everything that is started here listens on loopback and ends with the process that
started it.
"""
