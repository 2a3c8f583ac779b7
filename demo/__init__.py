"""`python -m demo`: the same load and the same kills, on Relier and on stock Celery."""
