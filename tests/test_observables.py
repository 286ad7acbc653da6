"""The table of observables, and recognising a joint cumulant however it is spelt."""

import itertools

import pytest

import pdlt
from pdlt.errors import PdltError
from pdlt.observables import NAMED, cumulant, format_spec, identify, observable, vanishes

#: DESIGN.md: axes follow the subscripts of the literature.
AXES = {
    "K": "12",
    "Theta": "12",
    "V": "1234",
    "A": "1234",
    "D": "1234",
    "S": "1234",
    "B": "1324",
    "F": "1324",
    "T": "1324",
    "U": "1423",
    "P": "0123",
    "Q": "0123",
    "R": "0123",
}


def test_the_table_is_complete() -> None:
    assert set(NAMED) == set(AXES)
    for name, row in NAMED.items():
        assert row.name == name
        assert "".join(map(str, row.axis_labels)) == AXES[name]
        assert row.reference and row.latex
        assert not vanishes(row.slots)


@pytest.mark.parametrize("name", NAMED)
def test_specs_are_recognised(name: str) -> None:
    """The spec of a row is the row, and so it is with other letters and other labels."""
    row = NAMED[name]
    assert cumulant(row.spec) is row
    renamed = row.spec.translate(str.maketrans("abc", "xza"))
    relabelled = format_spec(row.slots, tuple(10 + label for label in row.labels))
    assert cumulant(renamed) is row
    assert cumulant(relabelled) is row
    assert observable(name) is observable(row) is row


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("a1 a2 | b3 b4", "A"),
        ("1 2 | 3 4", "V"),
        ("a1 b3 | a2 b4", "B"),
        ("ba0 3 | a1 b2", "P"),
        ("1 2", "K"),
        ("c1 c2", "Theta"),
    ],
)
def test_named_cumulants(spec: str, name: str) -> None:
    assert pdlt.cumulant(spec).name == name


def test_another_order_of_slots_keeps_its_own_axes() -> None:
    """ "a1 a2 | 3 4" is D with its axes exchanged; `identify` says where each axis comes from."""
    item = cumulant("a1 a2 | 3 4")
    assert item.name == "a1 a2 | 3 4"
    assert item.axes == (0, 1, 2, 3)
    base, feed = identify(item.slots)
    assert base is NAMED["D"]
    # Axis d of D is fed by slot feed[d] of the spec: D's plain slots are the spec's last two.
    assert set(feed[:2]) == {2, 3} and set(feed[2:]) == {0, 1}
    assert [item.slots[s] for s in feed] == ["", "", "a", "a"]


def test_unnamed_cumulants_have_one_standard_form() -> None:
    """All spellings of one cumulant lead to the same frame, and different cumulants to different ones."""
    spellings = ["ab1 ab2 | 3 4", "4 3 | ba1 ba2", "3 4 | xy1 xy2", "yx7 yx8 | 1 2"]
    frames = {identify(cumulant(s).slots)[0] for s in spellings}
    assert len(frames) == 1
    (frame,) = frames
    assert frame.name not in NAMED
    assert identify(cumulant("ab1 a2 | b3 4").slots)[0] != frame
    assert identify(cumulant("ab1 ab2 | a3 a4").slots)[0] != frame


@pytest.mark.parametrize("name", ["V", "A", "B", "F", "P", "Q", "T", "U"])
def test_symmetries_form_a_group_and_keep_the_cumulant(name: str) -> None:
    """Every index symmetry permutes slots so that the spec reads the same up to names and order of components."""
    row = NAMED[name]
    images = {tuple(row.canonical(p)) for p in itertools.permutations(range(len(row.slots)))}
    order = {"V": 8, "A": 8, "B": 4, "F": 2, "P": 2, "Q": 1, "T": 2, "U": 2}[name]
    assert len(images) == 24 // order
    for args in itertools.permutations(range(4)):
        assert row.canonical(row.canonical(args)) == row.canonical(args)


def test_a_symmetry_that_is_none() -> None:
    """F is not symmetric under exchange of its first two axes; V is."""
    assert NAMED["V"].canonical((2, 1, 3, 4)) == NAMED["V"].canonical((1, 2, 3, 4))
    assert NAMED["F"].canonical((2, 1, 3, 4)) != NAMED["F"].canonical((1, 2, 3, 4))


def test_counting() -> None:
    assert cumulant("1 2 | 3 4 | 5 6").components == 3
    assert cumulant("1 2 | 3 4 | 5 6").leading_order == 2
    assert (NAMED["K"].derivatives, NAMED["B"].derivatives, NAMED["P"].derivatives, NAMED["R"].derivatives) == (
        0,
        1,
        2,
        3,
    )


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("a1 a2 | b3 c4", "vanishes identically, because direction 'b' occurs an odd number of times"),
        ("a1 2", "direction 'a' occurs an odd number of times"),
        ("1 2 3", "'1 2 3' is not two slots"),
        ("1 2 | ", "'' in '1 2 | ' is not two slots"),
        ("", "is not two slots"),
        ("aa1 2", "'aa1' is not distinct direction letters and a label"),
        ("A1 A2", "'A1' is not distinct direction letters and a label"),
        ("1a 2a", "'1a' is not distinct direction letters"),
        ("1 1", "must name a different data label in every slot"),
        ("1 2 | 3 1", "must name a different data label in every slot"),
        ("1 2 | " * 100, "`spec` must be components of two slots"),
        (7, "`spec` must be components of two slots"),
    ],
)
def test_malformed_specs(spec: str, message: str) -> None:
    with pytest.raises(PdltError) as caught:
        cumulant(spec)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("name", "suggestion"), [("theta", "'Theta'"), ("v", "'V'"), ("Thet", "'Theta'"), ("k", "'K'"), ("Z", None)]
)
def test_unknown_names_suggest_the_nearest(name: str, suggestion: str | None) -> None:
    with pytest.raises(PdltError, match="Accepted are K, Theta, V") as caught:
        observable(name)
    assert (f"Did you mean {suggestion}?" in str(caught.value)) if suggestion else ("Did you" not in str(caught.value))


@pytest.mark.parametrize("name", [None, 3, ["K"], b"K"])
def test_things_that_are_no_names(name: object) -> None:
    with pytest.raises(PdltError, match="is not known"):
        observable(name)  # type: ignore[arg-type]
