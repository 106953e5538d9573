"""The grid search: combinations planned, fitted in a worker process, and scored."""
