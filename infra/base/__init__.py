"""The base stack: network, storage, image repositories and roles."""
