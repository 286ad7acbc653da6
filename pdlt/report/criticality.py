"""Critical initialisations as text tables."""

from collections.abc import Iterable

from pdlt.predict.criticality import Criticality
from pdlt.report.tables import align

_MEANING = {
    "C_b": "critical variance of the biases",
    "C_W": "critical variance of the weights, times fan-in",
    "K_star": "fixed point K* of the kernel",
    "chi_parallel": "C_W d<sigma sigma>/dK at K*",
    "chi_perp": "C_W <sigma' sigma'> at K*",
    "a_1": "K' - K* = dK + a_1 dK^2 + a_2 dK^3 + ...",
    "a_2": "",
    "b_1": "chi_perp = 1 + b_1 dK + b_2 dK^2 + ...",
    "b_2": "",
    "p_0": "K ~ l^-p_0",
    "p_approach": "K - K* ~ l^-p_approach",
    "p_parallel": "perturbation of the kernel's diagonal ~ l^-p_parallel",
    "p_perp": "product of chi_perp, NTK of early layers ~ l^-p_perp",
}


def criticality_table(result: Criticality) -> str:
    """Return everything about one activation: class, reason, and a table of numbers."""
    head = [
        f"{result.activation.to_text()}: universality class {result.universality_class}",
        result.reason + ".",
    ]
    if result.universality_class == "none":
        return "\n".join([*head, "There is no critical initialisation: C_b, C_W and K* are undefined."])
    rows = []
    for name, meaning in _MEANING.items():
        value = _value(result, name)
        if value:
            closed = result.exact.get(name)
            rows.append([name, value if closed is None or closed.is_Integer else f"{value} = {closed}", meaning])
    if result.K_star is None:
        rows.insert(2, ["K_star", "any", _MEANING["K_star"]])
    if result.input_square is not None:
        rows.append(["x.x/n_0", _cell(result.input_square, False, 9), "of inputs whose kernel starts at K*"])
    remarks = [point.remark for point in result.points if not point.usable]
    return "\n".join(
        [
            *head,
            f"stability: {result.stability}",
            "",
            align(["", "value", "meaning"], rows, "<<<"),
            *(["", "other critical points: " + "; ".join(remarks)] if remarks else []),
            "",
            f"Powers of depth and coefficients of V, A, B, ..., U: pdlt scaling \"{result.activation.to_text()}\"",
        ]
    )


def overview_table(results: Iterable[Criticality], markdown: bool = False) -> str:
    """Return one row per activation; `markdown` for a Markdown table."""
    head = ["activation", "class", "C_b", "C_W", "K*", "a_1", "b_1", "p_0", "p_parallel", "p_perp"]
    rows = []
    for result in results:
        none = result.universality_class == "none"
        cells = [_cell(value, none) for value in (result.C_b, result.C_W)]
        cells.append("any" if result.K_star is None and not none else _cell(result.K_star, none))
        numbers = {**result.corrections, **result.exponents}
        cells += [_cell(numbers.get(name), none, 6) for name in ("a_1", "b_1", "p_0", "p_parallel", "p_perp")]
        rows.append([result.activation.to_text(), result.universality_class, *cells])
    if markdown:
        lines = [head, ["---"] * len(head), *rows]
        return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
    return align(head, rows, "<<" + ">" * (len(head) - 2))


def _value(result: Criticality, name: str) -> str:
    if name in result.digits:
        return _plain(result.digits[name])
    if name.startswith("chi"):
        return _cell(getattr(result, name), False, 12)
    numbers = result.corrections if name in result.corrections else result.exponents
    return "" if name not in numbers else _cell(numbers[name], False, 9) if numbers[name] is not None else "no power"


def _plain(digits: str) -> str:
    """Return "2" for "2.0"."""
    return digits.removesuffix(".0")


def _cell(value: float | None, none: bool, digits: int = 12) -> str:
    return "-" if value is None or none else f"{value + 0.0:.{digits}g}"
