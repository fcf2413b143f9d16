"""Settings: the schema, and loading it from YAML, environment, ``.env`` and the command line."""

from my3dis.config.schema import Config

__all__ = ["Config"]
