"""Compare the worker with those of Celery and dramatiq: `python -m benchmarks.workers`."""
