"""What all sections of the settings share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

__all__ = ["Fraction", "Section", "UserPath"]

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


def _at_home(path: Path) -> Path:
    """Return the path with a leading ``~`` replaced; no shell does so in YAML or after ``KEY=``."""
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise ValueError(f"cannot tell whose home folder {path} means; write the path in full") from error


UserPath = Annotated[Path, AfterValidator(_at_home)]


class Section(BaseModel):
    """A group of settings: unknown keys are refused, values never change."""

    # Numbers where text is expected (a tag of 42) are what YAML makes of them, not a mistake.
    # Infinity is a value of no setting, and JSON, in which a run records its settings, cannot say it.
    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, coerce_numbers_to_str=True, allow_inf_nan=False
    )
