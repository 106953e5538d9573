"""How fast, and how much memory: figures in comparison with peers. `make bench`."""
