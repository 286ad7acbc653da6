"""What an order costs: seconds to derive, estimated and measured, and to lower for one input, by order and sector.

    python benchmarks/orders.py [SECONDS]

Prints one row per sector and order, for all orders that are estimated to take less than SECONDS (default 30). The
estimate is what `pdlt.derive` checks against its budget before it starts; the ratio is estimate over measurement.
"""

import sys
import time

import pdlt
from pdlt.codegen.program import lower
from pdlt.symbolic import cumulants, jets, recursion
from pdlt.symbolic.cost import estimate

SECTORS = {
    "preactivations": ("K", "V"),
    "NTK": ("Theta", "V", "A", "B", "D", "F"),
    "dNTK": ("P", "Q"),
    "ddNTK": ("R", "S", "T", "U"),
}


def measured(names, order, budget):
    """Return a theory and the seconds to derive it; the caches that grow with use are emptied first."""
    for module in (cumulants, jets, recursion):
        for value in vars(module).values():
            if hasattr(value, "cache_clear"):
                value.cache_clear()
    start = time.process_time()
    theory = pdlt.derive(names, order=order, budget=budget)
    return theory, time.process_time() - start


def main():
    limit = float(sys.argv[1]) if len(sys.argv) > 1 else 30.0
    pdlt.derive(["K"], order=0)  # imports
    columns = ("order", "equations", "terms", "estimated", "ratio", "derive s", "estimated", "ratio", "lower s")
    print(f"{'sector':<16}" + "".join(f"{c:>10}" for c in columns))
    for sector, names in SECTORS.items():
        lowered = 0.0
        for order in range(1, 10):
            cost = estimate(names, order)
            if cost.seconds > limit:
                break
            theory, derived = measured(names, order, limit)
            text = "-"
            if lowered < limit / 30:
                start = time.process_time()
                lower(theory, single=True, kinked=False)
                lowered = time.process_time() - start
                text = f"{lowered:.2f}"
            terms = sum(len(equation.terms) for equation in theory)
            print(
                f"{sector:<16}{order:>10}{len(theory):>10}{terms:>10}{cost.terms:>10}{cost.terms / terms:>10.2f}"
                f"{derived:>10.3f}{cost.seconds:>10.3f}{cost.seconds / derived:>10.2f}{text:>10}",
                flush=True,
            )


if __name__ == "__main__":
    main()
