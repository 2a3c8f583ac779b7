"""Ratios against stock Celery and relier 0.1.7, measured in one run: `python -m bench`."""
