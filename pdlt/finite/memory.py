"""What arrays of this package will take, against what there is: the array library aborts where memory runs out."""

from pdlt._machine import machine_memory
from pdlt.errors import PdltError


def check_memory(argument: str, what: str, numbers: int) -> None:
    """Raise PdltError if so many double-precision numbers do not fit into this machine's memory.

    Args:
        argument: the argument to blame.
        what: names the arrays in the message.
        numbers: entries of all arrays that are held at the same time.
    """
    available = machine_memory()
    if 8 * numbers > available:
        raise PdltError(
            f"Argument `{argument}`: {what} need about {8 * numbers / 2**30:.3g} GiB, but this machine has "
            f"{available / 2**30:.3g} GiB. Take fewer points or a narrower network."
        )
