"""Holds a running deployment to its plan, on whatever it runs: see `conftest.py` for how it is called."""
