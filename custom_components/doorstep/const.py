"""Names that several files share."""

from typing import Final

DOMAIN: Final = "doorstep"
DEFAULT_PORT: Final = 8480
