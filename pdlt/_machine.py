"""What the machine has."""

import math
import os


def machine_memory() -> float:
    """Return the bytes of memory that this machine has; infinity on platforms that do not say."""
    try:
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, OSError, ValueError):
        return math.inf
