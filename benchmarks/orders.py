"""What an order costs: seconds to derive, and to lower for one input, against order and sector.

    python benchmarks/orders.py [SECONDS]

Prints one row per sector and order; an order is left out when the one before took more than SECONDS / 30 (default
30 seconds: an order costs ten to fifty times the one before).
"""

import sys
import time

import pdlt
from pdlt.codegen.program import lower

SECTORS = {
    "preactivations": ("K", "V"),
    "NTK": ("Theta", "V", "A", "B", "D", "F"),
    "dNTK": ("P", "Q"),
    "ddNTK": ("R", "S", "T", "U"),
}


def measured(names, order):
    """Return equations, terms, seconds to derive; the caches that grow with use are emptied first."""
    from pdlt.symbolic import cumulants

    for cached in (cumulants.variations, cumulants._affordable_partitions, cumulants._linking_partitions):
        cached.cache_clear()
    start = time.process_time()
    theory = pdlt.derive(names, order=order)
    return theory, time.process_time() - start


def main():
    limit = float(sys.argv[1]) if len(sys.argv) > 1 else 30.0
    pdlt.derive(["K"], order=0)  # imports
    print(f"{'sector':<16}{'order':>6}{'equations':>11}{'terms':>8}{'derive s':>10}{'lower s':>9}")
    for sector, names in SECTORS.items():
        lowered = 0.0
        for order in range(1, 5):
            theory, derived = measured(names, order)
            text = "-"
            if lowered < limit / 30:
                start = time.process_time()
                lower(theory, single=True, kinked=False)
                lowered = time.process_time() - start
                text = f"{lowered:.2f}"
            terms = sum(len(equation.terms) for equation in theory)
            print(f"{sector:<16}{order:>6}{len(theory):>11}{terms:>8}{derived:>10.2f}{text:>9}", flush=True)
            if derived > limit / 30:
                break


if __name__ == "__main__":
    main()
