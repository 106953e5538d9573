"""The settings: sections of settings.toml, the loader, and the stages on AWS."""
