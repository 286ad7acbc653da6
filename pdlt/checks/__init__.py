"""Claims: statements with evidence at three levels, each with a negative control that must fail.

    evidence    Identity (symbolic), Agreement (high precision), Scores (Monte Carlo): what a claim returns
    claims      @claim and @that_claim.control: what a derivation file writes
    loading     derivation files -> claims
    ledger      do names exist once, is no claim above its evidence?
    runner      run: claims -> Report
    report      Report as a table, JUnit XML, JSON
    textbook    the literature's notation, to type published formulas in
    arithmetic  derived equations iterated in any arithmetic (rationals, mpmath): the slow twin of `pdlt.predict`
    gaussian    Gaussian expectations in mpmath and in rationals
    moments     exact moments of finite polynomial networks, independent of the engine
    hierarchy   training of finite networks at order 1/n by brute force, a witness of pdlt.learning
    scaling     measurements with the next order in 1/n removed
    pytest_plugin  `pytest derivations/`: every claim is a test

A derivation file needs `claim` and the three kinds of evidence; everyone else needs `run`.
"""

from pdlt.checks.claims import Claim, Control, claim
from pdlt.checks.evidence import LEVELS, Agreement, Evidence, Identity, Scores, Verdict
from pdlt.checks.loading import load
from pdlt.checks.report import Report, Result
from pdlt.checks.runner import check, run

__all__ = [
    "LEVELS",
    "Agreement",
    "Claim",
    "Control",
    "Evidence",
    "Identity",
    "Report",
    "Result",
    "Scores",
    "Verdict",
    "check",
    "claim",
    "load",
    "run",
]
