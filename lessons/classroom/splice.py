"""The one splice: one function of somebody's file put into the library's file, with whatever else it needs from theirs.

Everything is found by syntax tree and moved as lines of text, so that a traceback can still name the line that its author wrote.
"""

import ast
import re
from collections.abc import Iterable
from dataclasses import dataclass

from lessons.classroom.manifest import syntax

Def = ast.FunctionDef | ast.AsyncFunctionDef


class UnusableError(Exception):
    """The file cannot be spliced; the text says why, for its author."""


@dataclass(frozen=True)
class Spliced:
    """The library's file with the function in it, and for each line that came from the author its number in their file."""

    text: str
    lines: dict[int, int]


def lines_of(text: str) -> list[str]:
    """Lines as Python counts them (str.splitlines also splits at form feeds and the like)."""
    return text.replace("\r\n", "\n").removesuffix("\n").split("\n")


def parse(text: str, file: str) -> ast.Module:
    """The file's syntax tree. Raises `UnusableError` with file, line and reason if it is no Python."""
    try:
        return syntax(text)
    except SyntaxError as error:
        said = f" ({error.text.strip()[:80]})" if error.text else ""
        raise UnusableError(f"{file}:{error.lineno or 1} is not Python yet: {error.msg}{said}") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise UnusableError(f"{file} is not Python yet: {error}") from None


def locate(module: ast.Module, name: str) -> tuple[Def, ast.ClassDef | None] | None:
    """The function `f`, or the method `C.f` and its class; the last one of that name, as in Python."""
    owner, _, method = name.rpartition(".")
    scope: ast.Module | ast.ClassDef = module
    if owner:
        classes = [node for node in module.body if isinstance(node, ast.ClassDef) and node.name == owner]
        if not classes:
            return None
        scope = classes[-1]
    found = [node for node in scope.body if isinstance(node, Def) and node.name == method]
    return (found[-1], scope if owner else None) if found else None


def body_of(function: Def) -> list[ast.stmt]:
    """The statements after the docstring."""
    return function.body[1:] if ast.get_docstring(function, clean=False) is not None else function.body


def is_blank(function: Def) -> bool:
    """Does the stub still stand there?"""
    match body_of(function):
        case [ast.Raise(exc=ast.Call(func=ast.Name(id="NotImplementedError"), args=[ast.Constant(value=str(text))]))]:
            return text.startswith("exercise ")
    return False


def body_lines(text: str, name: str) -> list[str]:
    """The lines after the docstring, comments among them."""
    function, _ = locate(syntax(text), name)
    start = function.body[0].end_lineno if ast.get_docstring(function, clean=False) is not None else function.body[0].lineno - 1
    return lines_of(text)[start : function.end_lineno]


def blank(text: str, file: str, exercises: dict[str, str]) -> str:
    """The file with the bodies of some functions (name -> exercise's id) removed: signature, annotations and docstring stay."""
    module, lines = syntax(text), lines_of(text)
    stubs = []
    for name, exercise in exercises.items():
        function, _ = locate(module, name)
        docstring = ast.get_docstring(function, clean=False) is not None
        start = function.body[0].end_lineno if docstring else function.body[0].lineno - 1
        stubs.append((start, function.end_lineno, " " * function.body[0].col_offset, name, exercise))
    gone = 0
    for start, stop, indent, name, exercise in sorted(stubs):
        start, stop = start - gone, stop - gone
        lines[start:stop] = [f'{indent}raise NotImplementedError("exercise {exercise} · {name} · {file}:{start + 1}")']
        gone += stop - start - 1
    return "\n".join(lines) + "\n"


def bound(statement: ast.stmt) -> set[str]:
    """The names that a statement of a module defines."""
    if isinstance(statement, Def | ast.ClassDef):
        return {statement.name}
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return {(alias.asname or alias.name).split(".")[0] for alias in statement.names}
    return {node.id for node in ast.walk(statement) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}


def read(nodes: Iterable[ast.AST]) -> set[str]:
    """The names that are looked up somewhere in there."""
    return {node.id for top in nodes for node in ast.walk(top) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}


def companions(theirs: ast.Module, function: ast.AST, known: set[str]) -> list[ast.stmt]:
    """The statements of their module that the function needs and the library's module does not have: helpers, constants, imports."""
    wanted, taken = read([function]), set()
    while True:
        more = {i for i, statement in enumerate(theirs.body) if i not in taken and bound(statement) & (wanted - known)}
        if not more:
            return [theirs.body[i] for i in sorted(taken)]
        taken |= more
        wanted |= read(theirs.body[i] for i in more)


def splice(library: str, name: str, text: str, file: str, wanted: str = "") -> Spliced:
    """The library's file with `name` as `text` has it, or as `text` has it under the name `wanted` (an answer, whose marks stay behind).

    Functions, methods, constants and imports that this one needs and the library's file lacks come along; nothing else does.
    """
    ours, theirs = syntax(library), parse(text, file)
    target, owner = locate(ours, name)
    found = locate(theirs, wanted or name)
    if found is None:
        raise UnusableError(f"{file} has no function {name} any more: put its `def` line back")
    function, their_class = found
    extra: list[ast.stmt] = []
    if their_class is not None:
        own = {node.name for node in owner.body if isinstance(node, Def)}
        called = {node.attr for node in ast.walk(function) if isinstance(node, ast.Attribute)}
        extra = [node for node in their_class.body if isinstance(node, Def) and node.name in called - own]
    known = set().union(*(bound(statement) for statement in ours.body))
    if wanted:
        function.decorator_list = []
    scope = ast.Module(body=[function, *extra], type_ignores=[])
    helpers = [statement for statement in companions(theirs, scope, known) if statement not in (function, their_class)]

    source, lines = lines_of(text), lines_of(library)
    top = owner or target
    before = min([top.lineno, *(mark.lineno for mark in top.decorator_list)]) - 1
    start = min([target.lineno, *(mark.lineno for mark in target.decorator_list)]) - 1
    placed: list[tuple[str, int]] = [(line, 0) for line in lines[:before]]
    for helper in helpers:
        placed += cut(source, helper, "")
    placed += [(line, 0) for line in lines[before:start]]
    indent = " " * target.col_offset
    for node in extra:
        placed += cut(source, node, indent)
    mine = cut(source, function, indent)
    if wanted:
        mine = [(re.sub(rf"def {wanted}\b", f"def {target.name}", line), number) for line, number in mine]
    placed += mine + [(line, 0) for line in lines[target.end_lineno :]]
    spliced = "\n".join(line for line, _ in placed) + "\n"
    parse(spliced, file)  # an odd mixture of indentations is said here, and not in the middle of a check
    return Spliced(spliced, {i: number for i, (_, number) in enumerate(placed, 1) if number})


def cut(source: list[str], node: ast.stmt, indent: str) -> list[tuple[str, int]]:
    """The node's lines with their numbers, moved to another indentation."""
    start = min([node.lineno, *(mark.lineno for mark in getattr(node, "decorator_list", []))])
    old = source[start - 1][: len(source[start - 1]) - len(source[start - 1].lstrip())]
    moved = (line.removeprefix(old) for line in source[start - 1 : node.end_lineno])
    return [(indent + line if line.strip() else line, number) for number, line in enumerate(moved, start)]
