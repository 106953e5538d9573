"""Benchmarks of speed, memory and scaling, compared with alternatives: `make bench`."""
