"""`derive`: what is asked for, what comes with it, and how fast."""

import subprocess
import sys
import time
from contextlib import contextmanager
from math import comb
from pathlib import Path

import pytest

import pdlt
from pdlt.errors import PdltError
from pdlt.observables import NAMED

ROOT = Path(__file__).resolve().parents[1]


def test_everything_of_order_one() -> None:
    """Thirteen tensors and two corrections; the system is closed and in an order in which it can be evaluated."""
    theory = pdlt.derive()
    assert set(theory.keys()) == {*NAMED, "K_1", "Theta_1"}
    assert theory.requested == tuple(NAMED)
    assert theory.order == 1
    assert theory.version == pdlt.__version__
    assert_closed(theory)


def assert_closed(theory: pdlt.Theory) -> None:
    keys = theory.keys()
    assert len(set(keys)) == len(keys)
    for equation in theory:
        for term in equation.terms:
            assert {tensor.key for tensor in term.tensors} <= set(keys), equation.key


@pytest.mark.parametrize(
    ("observables", "order", "keys"),
    [
        (["K"], 0, {"K"}),
        (["Theta"], 0, {"K", "Theta"}),
        (["V"], 1, {"K", "V"}),
        (["K"], 1, {"K", "K_1", "V"}),
        (["B"], 1, {"K", "Theta", "B"}),
        (["F"], 1, {"K", "Theta", "F"}),
        (["A"], 1, {"K", "Theta", "V", "D", "A"}),
        (["P"], 1, {"K", "Theta", "B", "P"}),
        (["Q"], 1, {"K", "Theta", "F", "Q"}),
        (["V"], 2, {"K", "K_1", "V", "V_1", "1 2 | 3 4 | 5 6"}),
    ],
)
def test_closure_is_found_and_no_larger_than_needed(observables: list[str], order: int, keys: set[str]) -> None:
    """What each recursion needs can be read off the literature's equations."""
    theory = pdlt.derive(observables, order=order)
    assert set(theory.keys()) == keys
    assert_closed(theory)


def test_requests_in_any_form() -> None:
    """One name, a coefficient, a spec, an Observable, twice the same: one observable."""
    expected = pdlt.derive(["V"], order=2)
    for request in ("V", ["V_1"], ["1 2 | 3 4"], [pdlt.cumulant("x7 x8 | y1 y2".replace("x", "").replace("y", ""))]):
        assert pdlt.derive(request, order=2) == expected
    assert pdlt.derive(["V", "V_1", "V"], order=2) == expected
    assert pdlt.derive(["V"], order=2) != pdlt.derive(["V"], order=1)


def test_equations_are_found_by_key_and_by_spec() -> None:
    theory = pdlt.derive(["A", "ab1 ab2 | 3 4"])
    assert theory["A"].name == "A"
    assert theory["a1 a2 | b3 b4"] is theory["A"]
    assert theory["ab1 ab2 | 3 4"].labels == (1, 2, 3, 4)
    with pytest.raises(KeyError, match="is not in this theory"):
        theory["S"]


def test_order_zero_has_no_widths() -> None:
    """rho = n_l / n_{l-1} belongs to corrections only."""
    assert all(term.powers[4] == 0 for equation in pdlt.derive(order=0) for term in equation.terms)
    assert any(term.powers[4] > 0 for term in pdlt.derive(["V"])["V"].terms)


def test_network_supplies_the_activation() -> None:
    net = pdlt.MLP(3, 10, "gelu")
    assert pdlt.derive(["K"], network=net).activation == "gelu"
    assert pdlt.derive(["K"], network=pdlt.MLP).activation is None
    assert pdlt.derive(["K"], network=net, activation="tanh").activation == "tanh"
    # The equations hold for any activation.
    assert pdlt.derive(["K"], network=net).equations == pdlt.derive(["K"]).equations


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"order": -1}, "`order` must be an integer of at least 0, but got -1"),
        ({"order": 5}, "`order`: deriving K, Theta, V, A, B, D, F, P, Q, R, S, T, U at order 5 needs about"),
        ({"observables": ["K"], "order": 10**9}, "more than a thousand years"),
        ({"observables": ["K"], "order": 4, "budget": 0.01}, "more than `budget` = 0.01 seconds. Ask for fewer"),
        ({"budget": 0}, "`budget` must be a positive number of seconds, but got 0"),
        ({"budget": float("nan")}, "`budget` must be a positive number of seconds, but got nan"),
        ({"budget": "1h"}, "`budget` must be a positive number of seconds, but got '1h'"),
        ({"observables": ["K_2"]}, "'K_2' is not known"),
        ({"observables": ["K_" + "9" * 5000]}, "is not known"),
        ({"order": 1.0}, "but got 1.0"),
        ({"order": True}, "but got True"),
        ({"observables": []}, "must name at least one observable"),
        ({"observables": ["W"]}, "'W' is not known"),
        ({"observables": 3}, "`observables` must be names or specs of observables, but got 3"),
        ({"observables": ["V"], "order": 0}, "'V' first appears at order 1, but `order` is 0"),
        ({"observables": ["1 2 | 3 4 | 5 6"]}, "first appears at order 2, but `order` is 1"),
        ({"network": "MLP"}, "`network` must be pdlt.MLP or an instance of it, but got 'MLP'"),
        ({"activation": "thna"}, "Did you mean 'tanh'"),
    ],
)
def test_refusals(arguments: dict, message: str) -> None:
    with pytest.raises(PdltError) as caught:
        pdlt.derive(**arguments)
    assert message in str(caught.value)


def test_a_refused_derivation_does_not_start(monkeypatch) -> None:
    """The estimate comes before the work."""
    monkeypatch.setattr("pdlt.pipeline.close", lambda *_: pytest.fail("started"))
    with pytest.raises(PdltError, match="needs about 3 hours, 40,000,000 terms and 100 GiB of memory"):
        pdlt.derive(["K", "V"], order=7)


def test_a_budget_allows_what_it_covers() -> None:
    assert len(pdlt.derive(["K", "V"], order=3, budget=0.5)) == 10
    assert len(pdlt.derive(["K", "V"], order=3, budget=float("inf"))) == 10


@pytest.mark.slow
def test_order_five_of_relu_is_the_binomial_series() -> None:
    """n K^2 [(1 + 5/n)^(L-1) - 1] for L = 6 ends at order 5: V_j = K^2 C(5, j + 1) 5^(j + 1). K has no correction."""
    net = pdlt.MLP(6, 200, "relu", C_W=2.0)
    prediction = pdlt.predict(net, [[1.0]], ["K", "V"], order=5).isel(layer=-1)
    vertex = [prediction[key].item() for key in ("V", "V_1", "V_2", "V_3", "V_4")]
    assert vertex == pytest.approx([4 * comb(5, j + 1) * 5 ** (j + 1) for j in range(5)], rel=1e-12)
    assert [prediction[f"K_{j}"].item() for j in range(1, 6)] == pytest.approx([0] * 5, abs=1e-9)


def test_progress_tells_how_long_it_will_take(monkeypatch) -> None:
    said = []

    @contextmanager
    def progress(description):
        said.append(description)
        yield lambda _: None

    monkeypatch.setattr("pdlt.pipeline.progress", progress)
    monkeypatch.setattr("pdlt.pipeline.close", lambda *_: ())
    pdlt.derive(["K", "V"], order=3)
    pdlt.derive(["K", "V"], order=5)
    assert said == ["deriving", "deriving (about 9.8 seconds)"]


def test_an_interrupt_stops_a_derivation_at_once() -> None:
    """Ctrl-C ends `pdlt derive` with exit code 130; what it interrupts here would take ten seconds and more."""
    code = (
        # Modules first: an interrupt during an import may be swallowed by somebody's bare except.
        "import os, signal, threading, sympy, pdlt.cli.derive, pdlt.pipeline, pdlt.export.plain\n"
        # A shell that starts the tests in the background has interrupts ignored.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT)).start()\n"
        "pdlt.cli.main(['derive', '--observables', 'Theta,A', '--order', '4'])"
    )
    start = time.monotonic()
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert run.returncode == 130, run.stderr
    assert run.stderr.strip() == "Interrupted."
    assert run.stdout == ""
    assert time.monotonic() - start < 11


def test_the_complete_set_takes_seconds_in_a_fresh_process() -> None:
    """Asked for: seconds, not minutes. Five seconds of CPU time include the interpreter and sympy."""
    code = "import time, pdlt; t = pdlt.derive(); assert len(t) == 15; print(time.process_time())"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    assert float(run.stdout) < 5


def test_deriving_loads_no_arrays_beyond_the_network() -> None:
    """Deriving needs neither jax nor xarray: `pdlt derive` starts fast."""
    code = "import sys, pdlt; pdlt.derive(['V']); print([m for m in ('jax', 'xarray', 'pandas') if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert run.stdout.strip() == "[]", run.stderr
