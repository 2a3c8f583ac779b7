"""Where Relier meets Celery: the app, the task class, the transport and the worker's own steps."""
