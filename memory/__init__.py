"""What is remembered and how it is found. Knows no Celery and no command line."""
