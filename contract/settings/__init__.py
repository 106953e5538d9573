"""Settings: the sections of settings.toml, the stages on AWS, and the loaders."""
