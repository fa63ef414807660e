"""Celery side: the dispatcher, the drain loop, and one module a stage."""
