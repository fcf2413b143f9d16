"""My3DIS: instance masks at several granularities, tracked through a scan and lifted to 3D."""

__version__ = "0.1.0"
