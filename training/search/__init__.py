"""The grid search: plan the combinations, fit them in a worker process, and evaluate them."""
