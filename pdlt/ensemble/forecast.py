"""What a long run will cost, said while it can still be stopped."""

from pdlt.ensemble.blocks import BLOCK


def forecast(seconds: float, blocks: int, memory: float, disk: float) -> str:
    """Return what a run will cost; empty if that is less than a minute.

    Args:
        seconds: time of one block.
        blocks: how many there are.
        memory: bytes that the run needs.
        disk: bytes that a block takes in the store, 0 without a store.
    """
    if seconds * blocks < 60:
        return ""
    parts = [f"{_duration(seconds * blocks)} of computing", f"{max(memory, 1e6) / 1e6:.0f} MB of memory"]
    if disk:
        parts.append(f"{disk * blocks / 1e6:.3g} MB in the store")
    return f"{blocks * BLOCK} samples will take about {', '.join(parts)}."


def _duration(seconds: float) -> str:
    for unit, size in (("years", 31_557_600), ("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} seconds"
