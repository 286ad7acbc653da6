"""From a network's layer map to equations between joint cumulants. See `recursion` for the engine."""
