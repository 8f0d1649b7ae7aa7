"""The stub shows the docstrings of the compiled module; `SPECDEC_UPDATE=1 pytest` writes them."""

import ast
import inspect
import os
from collections.abc import Iterator
from pathlib import Path

from conftest import ROOT
from specdec_rs import _core

STUB = ROOT / "python" / "specdec_rs" / "_core.pyi"

Node = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def documented(tree: ast.Module) -> Iterator[tuple[Node, str, object]]:
    """Yield the public classes, methods, properties and functions of the stub."""
    for node in tree.body:
        if not isinstance(node, Node) or node.name.startswith("_"):
            continue
        value = getattr(_core, node.name)
        yield node, node.name, value
        if not isinstance(node, ast.ClassDef):
            continue
        for member in node.body:
            if isinstance(member, Node) and not member.name.startswith("_"):
                yield member, f"{node.name}.{member.name}", getattr(value, member.name)


def with_docstring(lines: list[str], node: Node, doc: str) -> None:
    """Write the docstring into the lines of the stub."""
    indent = " " * (node.col_offset + 4)
    quotes = 'r"""' if "\\" in doc else '"""'
    body = [f"{indent}{line}".rstrip() for line in f'{quotes}{doc}"""'.split("\n")]
    if "\n" in doc:
        body = [*body[:-1], body[-1].removesuffix('"""'), f'{indent}"""']
    first = node.body[0]
    if ast.get_docstring(node) is not None:
        assert first.end_lineno is not None
        lines[first.lineno - 1 : first.end_lineno] = body
    elif isinstance(first, ast.Expr):
        line = lines[first.lineno - 1]
        assert line.endswith(" ..."), line
        lines[first.lineno - 1 : first.lineno] = [line.removesuffix(" ..."), *body]
    else:
        # Below the line of the class, above any comment on its members.
        lines[node.lineno : node.lineno] = body


def test_docstrings_of_the_stub_are_the_modules() -> None:
    text = STUB.read_text()
    lines = text.split("\n")
    wrong = []
    # From the end, so that the lines before stay where they are.
    for node, name, value in reversed(list(documented(ast.parse(text)))):
        doc = inspect.getdoc(value)
        assert doc, f"{name} has no docstring"
        if ast.get_docstring(node) != doc:
            wrong.append(name)
            with_docstring(lines, node, doc)
    if wrong and os.environ.get("SPECDEC_UPDATE"):
        Path(STUB).write_text("\n".join(lines))
        return
    assert not wrong, "SPECDEC_UPDATE=1 pytest tests/python/test_stubs.py"


METHODS_WITHOUT_EXAMPLE = {"as_dict", "cancel", "keep"}


def test_docstrings_describe_arguments_and_have_an_example() -> None:
    for node, name, value in documented(ast.parse(STUB.read_text())):
        if isinstance(node, ast.ClassDef) or not callable(value) or "." not in name:
            continue
        if node.name in METHODS_WITHOUT_EXAMPLE:
            continue
        doc = inspect.getdoc(value) or ""
        assert "Example:\n    >>> " in doc, name
        for parameter in list(inspect.signature(value).parameters.values()):
            if parameter.name != "self":
                assert f"    {str(parameter).split('=')[0]}: " in doc, (name, parameter.name)
