"""Change single operators, numbers, arguments and statements at random, and see that the tests notice:

    python -m tests.mutants.sampling [MODULE ...] [--sample N] [--seed S]

Without modules, all of `tests.mutants.matching` are sampled, N changes each, in rounds, so that a run that is cut short has
sampled all alike. A survivor is no proof of a gap: some changes have the same meaning. Exit code 1 if any survives.
`make mutation-sample` installs what it needs.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import random
import re
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.operator import Operator
from cosmic_ray.plugins import get_operator, operator_names
from parso.python.tree import Keyword

from tests.mutants.matching import GENERAL, GENERAL_TESTS, MATCHING_TESTS
from tests.mutants.mutant import ROOT
from tests.mutants.run import End, Outcome, copy_of_the_tree, run_tests

#: The test files of a module take up to a minute; a change that makes somebody wait for ever costs all of this.
TIMEOUT_S = 200


class DropArgument(Operator):
    """Leaves out a keyword argument of a call: something that is not carried on."""

    def mutation_positions(self, node: Any) -> Iterator[tuple[Any, Any]]:
        for argument in self._arguments(node):
            yield argument.start_pos, argument.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        at = node.children.index(self._arguments(node)[index])
        # With the comma after it, or before it if it is the last.
        del node.children[at if at + 1 < len(node.children) else max(at - 1, 0) : at + 2]
        return node

    @staticmethod
    def _arguments(node: Any) -> list[Any]:
        if node.type != "arglist":
            return []
        return [child for child in node.children if child.type == "argument" and child.children[1:2] == ["="]]

    @classmethod
    def examples(cls) -> tuple[Any, ...]:
        return ()


class DropStatement(Operator):
    """Leaves out a statement without a result of its own: a call, an assignment to a field, an early end."""

    def mutation_positions(self, node: Any) -> Iterator[tuple[Any, Any]]:
        if node.type == "simple_stmt" and node.parent is not None and node.parent.type == "suite":
            statement = node.children[0]
            declares = statement.type == "expr_stmt" and statement.children[1].type == "annassign"
            if statement.type in ("expr_stmt", "atom_expr", "return_stmt", "raise_stmt", "del_stmt") and not declares:
                yield statement.start_pos, statement.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        statement = node.children[0]
        prefix = statement.get_first_leaf().prefix
        node.children[0] = Keyword("pass", statement.start_pos, prefix)
        return node

    @classmethod
    def examples(cls) -> tuple[Any, ...]:
        return ()


class Change(NamedTuple):
    """One change of a module."""

    module: str
    function: str
    operator: str
    line: int
    source: str
    """The changed module."""
    diff: str


def difference(before: str, after: str) -> str:
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), n=1, lineterm="")
    return "\n".join(line for line in lines if not line.startswith(("---", "+++")))


#: Replacements of operators that people mistake for each other. Others, such as `+` by `**`, fail every test.
_LIKELY = re.compile(
    "Replace(BinaryOperator_(Add_Sub|Sub_Add|Mul_FloorDiv|FloorDiv_Mul|Mod_FloorDiv|BitAnd_BitOr|BitOr_BitAnd)"
    "|ComparisonOperator_(Is_IsNot|IsNot_Is|(Eq|NotEq|LtE?|GtE?)_(Eq|NotEq|LtE?|GtE?)))"
)


def operators() -> dict[str, Operator]:
    """Return the operators that make changes of meaning, by name."""
    named: dict[str, Operator] = {"DropArgument": DropArgument(), "DropStatement": DropStatement()}
    for full_name in operator_names():
        name = full_name.partition("/")[2]
        replaces = name.startswith(("ReplaceBinaryOperator", "ReplaceComparisonOperator"))
        operator_class = get_operator(full_name)
        # An operator that needs arguments is for one name of a variable.
        if not operator_class.arguments() and (not replaces or _LIKELY.fullmatch(name)):
            named[name] = operator_class()
    return named


def meaning(source: str) -> str:
    """Return the syntax tree as text, without annotations and documentation."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.AnnAssign | ast.arg):
            node.annotation = ast.Constant(None)
        elif isinstance(node, ast.FunctionDef):
            node.returns = None
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module) and ast.get_docstring(node, clean=False):
            del node.body[0]
    return ast.dump(tree)


def functions(source: str) -> dict[int, str]:
    """Return the full name of the function or class that each line is in; the innermost counts."""
    names: dict[int, str] = {}

    def visit(node: ast.AST, within: str) -> None:
        for child in ast.iter_child_nodes(node):
            name = within
            if isinstance(child, ast.FunctionDef | ast.ClassDef):
                name = f"{within}.{child.name}" if within else child.name
                names.update(dict.fromkeys(range(child.lineno, (child.end_lineno or child.lineno) + 1), name))
            visit(child, name)

    visit(ast.parse(source), "")
    return names


def sample(module: str, count: int, chance: random.Random) -> list[Change]:
    """Choose lines at random, and one change of each, so that an expression with many operators is chosen no more often."""
    source = (ROOT / module).read_text()
    tree = get_ast(source)
    known = operators()
    places: dict[int, list[tuple[str, int]]] = defaultdict(list)
    for name, operator in known.items():
        at = 0
        for node in ast_nodes(tree):
            for start, _ in operator.mutation_positions(node):
                places[start[0]].append((name, at))
                at += 1
    inside, unchanged = functions(source), meaning(source)
    lines = sorted(places)
    chance.shuffle(lines)
    changes: list[Change] = []
    for line in lines:
        name, at = chance.choice(places[line])
        changed = mutate_code(source, known[name], at)
        try:
            if changed is None or meaning(changed) == unchanged:
                continue
        except SyntaxError:  # such as an await in place of a not
            continue
        if line not in inside and name == "NumberReplacer":
            continue  # a constant of a module: a little more or less of it is no bug
        changes.append(Change(module, inside.get(line, "(module)"), name, line, changed, difference(source, changed)))
        if len(changes) == count:
            break
    return changes


def run_change(tree: Path, change: Change, tests: Sequence[str]) -> Outcome:
    """Make a change in the copy, run tests, and undo it."""
    path = tree / change.module
    source = path.read_text()
    path.write_text(change.source)
    try:
        return run_tests(tree, tests, TIMEOUT_S)
    finally:
        path.write_text(source)


def is_noticed(tree: Path, change: Change, tests: Sequence[str]) -> bool:
    """Return whether any of the tests fails with a change, or does not end."""
    outcome = run_change(tree, change, tests)
    noticed = outcome.end is not End.PASSED
    found = outcome.detail.splitlines()[-1] if outcome.detail else outcome.end.value
    print(
        f"{outcome.seconds:6.1f} s  {'noticed' if noticed else 'SURVIVED':8}  "
        f"{change.module}:{change.line} {change.function} {change.operator}: {found}",
        flush=True,
    )
    return noticed


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants.sampling", description=__doc__)
    parser.add_argument("modules", nargs="*", metavar="MODULE", help="files, from the root of the repository")
    parser.add_argument("--sample", type=int, default=10, metavar="N", help="changes of each module")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    arguments = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    print(f"seed {arguments.seed}", flush=True)
    chance = random.Random(arguments.seed)
    modules = arguments.modules or sorted(MATCHING_TESTS)
    began = time.monotonic()
    samples = [sample(module, arguments.sample, chance) for module in modules]
    rounds = [each[at] for at in range(arguments.sample) for each in samples if at < len(each)]
    survived: list[Change] = []
    with copy_of_the_tree() as tree:
        for change in rounds:
            if not is_noticed(tree, change, MATCHING_TESTS[change.module]):
                print(change.diff, flush=True)
                survived.append(change)
        # These take minutes, so they come last.
        survived = [
            change
            for change in survived
            if not change.module.startswith(GENERAL) or not is_noticed(tree, change, GENERAL_TESTS)
        ]
    took_s = time.monotonic() - began
    print(f"{len(rounds)} changes, {len(survived)} survived, {took_s:.0f} s")
    for change in sorted(survived):
        print(f"survived: {change.module}:{change.line} {change.function} {change.operator}")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
