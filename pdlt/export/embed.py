"""Copy definitions, with all that they refer to, from modules of the package into one standalone source text.

Generated modules must run without pdlt, and nothing should be written twice: so the numerics are not rewritten as a
template but copied from where they are tested. Only definitions that are reached from the wanted ones are taken.
"""

import ast
import importlib.util
import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache


@dataclass(frozen=True)
class _Source:
    """A module's text and what its top-level names are.

    Attributes:
        definitions: name -> syntax node.
        modules: name -> full name, for modules of the package imported under a name.
        members: name -> (module, name), for names imported from modules of the package.
        imports: name -> statement, for everything imported from elsewhere.
    """

    lines: tuple[str, ...]
    doc: str
    definitions: dict[str, ast.stmt] = field(default_factory=dict)
    modules: dict[str, str] = field(default_factory=dict)
    members: dict[str, tuple[str, str]] = field(default_factory=dict)
    imports: dict[str, tuple[str, str]] = field(default_factory=dict)


def embed(
    wanted: Sequence[tuple[str, str]], order: Sequence[str], stand_ins: Mapping[tuple[str, str], tuple[str, str]]
) -> tuple[str, str]:
    """Return import statements and source text of the wanted definitions and of everything they refer to.

    Args:
        wanted: (module, name) of the definitions.
        order: the modules that may be copied from, each after the ones it needs.
        stand_ins: definitions to copy instead of others.

    Raises:
        LookupError: if a definition refers to a module of the package that is not in `order`, or if two different
            definitions have the same name.
    """
    found: set[tuple[str, str]] = set()
    imports: set[tuple[str, str]] = set()
    queue = list(wanted)
    while queue:
        place = queue.pop()
        place = stand_ins.get(place, place)
        if place in found:
            continue
        if place[0] not in order:
            raise LookupError(f"{place[0]}.{place[1]} is not among the modules that may be copied")
        found.add(place)
        source = _read(place[0])
        for node in ast.walk(source.definitions[place[1]]):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in source.modules:
                queue.append((source.modules[node.value.id], node.attr))
            elif isinstance(node, ast.Name) and node.id in source.members:
                queue.append(source.members[node.id])
            elif isinstance(node, ast.Name) and node.id in source.definitions:
                queue.append((place[0], node.id))
            elif isinstance(node, ast.Name) and node.id in source.imports:
                imports.add(source.imports[node.id])
    names = [name for _, name in found]
    if len(set(names)) < len(names):
        raise LookupError(f"two definitions have the same name: {sorted(names)}")
    sections = [_section(module, {name for m, name in found if m == module}) for module in order]
    return _import_block(imports), "\n\n\n".join(section for section in sections if section)


def _section(module: str, names: set[str]) -> str:
    """Return the chosen definitions of a module in their order, under the module's docstring as a comment."""
    if not names:
        return ""
    source = _read(module)
    heading = [f"From {module.replace('.', '/')}.py", "", *source.doc.splitlines()]
    header = ["# " + "-" * 108, *(f"# {line}".rstrip() for line in heading)]
    nodes = {id(node): (name, node) for name, node in source.definitions.items() if name in names}
    parts = ["\n".join(header), *(_text(source, node) for _, node in nodes.values())]
    return "\n\n\n".join(parts)


def _text(source: _Source, node: ast.stmt) -> str:
    """Return a definition with the comment above it, module prefixes of copied names and type checkers' notes gone."""
    decorators = getattr(node, "decorator_list", [])
    first = min([node.lineno, *(d.lineno for d in decorators)]) - 1
    lines = list(source.lines)
    prefixes = [
        (n.value.lineno - 1, n.value.col_offset, len(n.value.id) + 1)
        for n in ast.walk(node)
        if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name) and n.value.id in source.modules
    ]
    for line, start, length in sorted(prefixes, reverse=True):
        encoded = lines[line].encode()
        lines[line] = (encoded[:start] + encoded[start + length :]).decode()
    while first and lines[first - 1].startswith("#"):
        first -= 1
    return "\n".join(re.sub(r"  # type: ignore\S*$", "", line) for line in lines[first : node.end_lineno])


def _import_block(imports: set[tuple[str, str]]) -> str:
    """Return import statements, the standard library first, names from one module on one line."""
    plain = sorted(name for module, name in imports if not module)
    members: dict[str, list[str]] = {}
    for module, name in sorted(imports):
        if module:
            members.setdefault(module, []).append(name)
    statements = [f"import {name}" for name in plain]
    statements += [f"from {module} import {', '.join(names)}" for module, names in members.items()]
    third_party = [s for s in statements if s.split()[1].partition(".")[0] in ("jax", "numpy")]
    standard = [s for s in statements if s not in third_party]
    return "\n".join([*standard, "", *third_party])


@cache
def _read(module: str) -> _Source:
    text = inspect.getsource(importlib.import_module(module))
    tree = ast.parse(text)
    source = _Source(tuple(text.splitlines()), ast.get_docstring(tree) or "")
    for node in tree.body:
        if isinstance(node, ast.Import):
            for alias in node.names:
                spelled = alias.name + (f" as {alias.asname}" if alias.asname else "")
                source.imports[alias.asname or alias.name.partition(".")[0]] = ("", spelled)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                _add_member(source, node.module, alias.name, alias.asname or alias.name)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            source.definitions[node.name] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                if isinstance(target, ast.Name):
                    source.definitions[target.id] = node
    return source


def _add_member(source: _Source, module: str, name: str, known_as: str) -> None:
    if module.partition(".")[0] != "pdlt":
        source.imports[known_as] = (module, name if name == known_as else f"{name} as {known_as}")
    elif _is_module(f"{module}.{name}"):
        source.modules[known_as] = f"{module}.{name}"
    else:
        source.members[known_as] = (module, name)


def _is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False
