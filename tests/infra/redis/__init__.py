"""The files of `scripts/redis`, on plain local processes."""
