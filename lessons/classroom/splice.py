"""The one splice: one function of somebody's file put into the library's file, with whatever else it needs from theirs.

Everything is found by syntax tree and moved as lines of text, so that a traceback can still name the line that its author wrote.
"""

import ast
import builtins
import re
import symtable
from collections.abc import Iterable
from dataclasses import dataclass

from lessons.classroom.manifest import PARSING, syntax

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


def bound(statement: ast.AST) -> set[str]:
    """The names that a statement of a module defines; "*" for those of a whole other module."""
    if isinstance(statement, Def | ast.ClassDef):
        return {statement.name}
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return {(alias.asname or alias.name).split(".")[0] for alias in statement.names}
    if isinstance(statement, ast.Name):
        return {statement.id} if isinstance(statement.ctx, ast.Store) else set()
    if isinstance(statement, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp | ast.Lambda):
        return set()  # their names are their own
    return set().union(*map(bound, ast.iter_child_nodes(statement)))  # also what stands in an `if` or a `try`


def read(nodes: Iterable[ast.stmt]) -> set[str]:
    """The names that these statements look up in their module: not a function's own."""

    def looked_up(table: symtable.SymbolTable) -> set[str]:
        top = table.get_type() == "module"
        names = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_referenced() and (top or symbol.is_global())}
        return names.union(*map(looked_up, table.get_children()))

    text = ast.unparse(ast.Module(list(nodes), []))
    with PARSING:
        table = symtable.symtable(text, "", "exec")
    return looked_up(table)


def companions(theirs: ast.Module, functions: list[ast.stmt], known: set[str]) -> list[ast.stmt]:
    """The statements of their module that the functions need and the library's module does not have: helpers, constants, imports."""
    wanted, taken, known = read(functions), set(), known | set(dir(builtins))
    while True:
        more = {i for i, statement in enumerate(theirs.body) if i not in taken and bound(statement) & (wanted - known)}
        if not more:  # what is still unknown must come from an `import *`
            missing = wanted - known - set().union(*(bound(theirs.body[i]) for i in taken))
            taken |= {i for i, statement in enumerate(theirs.body) if missing and "*" in bound(statement)}
            return [theirs.body[i] for i in sorted(taken)]
        taken |= more
        wanted |= read(theirs.body[i] for i in more)


def members(own: ast.ClassDef, their_class: ast.ClassDef, function: ast.stmt) -> list[ast.stmt]:
    """The methods and constants of their class that the function needs, one through another, and the library's class does not have."""
    known, taken = set().union(*map(bound, own.body)), [function]
    while True:
        called = {node.attr for each in taken for node in ast.walk(each) if isinstance(node, ast.Attribute)} - known
        more = [node for node in their_class.body if node not in taken and bound(node) & called]
        if not more:
            return [node for node in their_class.body if node in taken and node is not function]
        taken += more


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
    extra = [] if their_class is None else members(owner, their_class, function)
    known = set().union(*(bound(statement) for statement in ours.body))
    if wanted:
        function.decorator_list = []
    helpers = [statement for statement in companions(theirs, [function, *extra], known) if statement not in (function, their_class)]

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
    strings = (each for each in ast.walk(node) if isinstance(each, ast.Constant | ast.JoinedStr) and each.end_lineno > each.lineno)
    fixed = {number for each in strings for number in range(each.lineno + 1, each.end_lineno + 1)}  # white space there is part of the text
    lines = enumerate(source[start - 1 : node.end_lineno], start)
    return [(line if number in fixed or not line.strip() else indent + line.removeprefix(old), number) for number, line in lines]
