"""Functions of m2cgen expressions, none of them too large for a compiler or too deep for its parser.

m2cgen writes one function of one expression, and reads that expression recursively: what is deep or large ends in a
RecursionError, or in a method that Java refuses. Here expressions are cut into many small functions first.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, TypeAlias

from m2cgen.ast import BinNumOpType

from edgekit_converters.plaincode.emitters.m2cgen.dialect import Dialect
from edgekit_converters.plaincode.emitters.m2cgen.nodes import CallExpr, Expr, JoinExpr, NameExpr, VectorVal, choose

_DEPTH = 24
"""Of nested branches in one function."""
_COST = 240
"""Numbers and branches of one function, about: HotSpot compiles no method of over 8,000 bytes to machine code."""
_TERMS = 32
"""Of one sum."""

Expanded: TypeAlias = Expr | tuple[Expr, Hashable, Hashable]


class Speaker:
    """What is put before one of m2cgen's interpreters: no cache, whose keys hash whole trees; and the other nodes."""

    dialect: Dialect
    numbers = 0
    _cg: Any

    def _do_interpret(
        self, expr: Any, to_reuse: Any = None, left_precedence: Any = None, right_precedence: Any = None, **options: Any
    ) -> Any:
        if not isinstance(expr, self.infix_expressions):  # type: ignore[attr-defined] # m2cgen's
            left_precedence = right_precedence = None
        handler = self._select_handler(expr)  # type: ignore[attr-defined]
        return handler(expr, left_precedence=left_precedence, right_precedence=right_precedence, **options)

    def interpret_num_val(self, expr: Any, **_: Any) -> str:
        self.numbers += 1
        return self.dialect.number(float(expr.value))

    def interpret_bin_num_expr(self, expr: Any, **options: Any) -> str:
        if expr.op is BinNumOpType.DIV and self.dialect.quotient:
            return self.dialect.quotient.format(self._do_interpret(expr.left), self._do_interpret(expr.right))
        apart = expr.op is BinNumOpType.MUL and self.dialect.product
        if apart:  # stands in parentheses of its own
            options.update(left_precedence=None, right_precedence=None)
        text: str = super().interpret_bin_num_expr(expr, **options)  # type: ignore[misc] # m2cgen's
        return self.dialect.product.format(text) if apart else text

    def interpret_name_expr(self, expr: Any, **_: Any) -> str:
        return self.dialect.variable(expr.name)

    def interpret_item_expr(self, expr: Any, **_: Any) -> str:
        return str(self._cg.array_index_access(array_name=expr.vector.name, index=expr.index))

    def interpret_call_expr(self, expr: Any, **_: Any) -> str:
        given = [self.dialect.argument(self._do_interpret(a), _is_vector(a)) for a in expr.arguments]
        return f"{expr.function}({', '.join(given)})"

    def interpret_single_expr(self, expr: Any, **_: Any) -> str:
        return self.dialect.single.format(self._do_interpret(expr.expr))

    def interpret_join_expr(self, expr: Any, **_: Any) -> str:
        return self.dialect.join([self._do_interpret(p) for p in expr.parts])


def _is_vector(expr: Expr) -> bool:
    return expr.vector if isinstance(expr, (NameExpr, CallExpr)) else isinstance(expr, (VectorVal, JoinExpr))


class Scope:
    """A function while it is written: what it takes, and the variables so far."""

    def __init__(self, writer: Writer, name: str, parameters: Sequence[NameExpr], first: int) -> None:
        self.writer, self.name, self.parameters = writer, name, list(parameters)
        self.generator = writer.dialect.generator()
        self.generator._var_idx = first  # names of variables differ from those of the functions that it calls it from
        self._parts = 0

    @property
    def first(self) -> int:
        return int(self.generator._var_idx)

    def text(self, expr: Expr) -> str:
        speaker = self.writer.speaker
        before, speaker._cg = speaker._cg, self.generator
        text: str = speaker._do_interpret(expr)
        speaker._cg = before
        return text

    def let(self, expr: Expr) -> NameExpr:
        """A variable that holds a value."""
        if isinstance(expr, NameExpr):
            if all(p.name != expr.name for p in self.parameters):
                self.parameters.append(expr)
            return expr
        vector = _is_vector(expr)
        text = self.text(expr)
        name = self.generator.add_var_declaration(2 if vector else 1)
        self.generator.add_var_assignment(name, text, 2 if vector else 1)
        self.parameters.append(NameExpr(name.lstrip("$"), vector))
        return self.parameters[-1]

    def part(self, build: Callable[[Scope], Expr], vector: bool, more: Sequence[NameExpr] = ()) -> Callable[..., Expr]:
        """A function of its own that takes everything in scope, and `more`; call it with the values of `more`."""
        self._parts += 1
        given = list(self.parameters)
        name = self.writer.define(f"{self.name}_{self._parts}", [*given, *more], build, vector, self.first)
        return lambda *values: CallExpr(name, [*given, *values], vector=vector)

    def vector(self, elements: Sequence[Expr], cost: int = 2) -> Expr:
        """A vector of its elements, each of about a cost; in parts where that is too much for one function."""
        count = max(1, _COST // max(cost, 1))
        if len(elements) <= count:
            return VectorVal(list(elements))
        calls = []
        for start in range(0, len(elements), count):
            some = list(elements[start : start + count])
            calls.append(self.part(lambda _, some=some: VectorVal(some), True)())  # type: ignore[misc]
        while len(calls) > _TERMS:  # parts of parts
            groups = [calls[i : i + _TERMS] for i in range(0, len(calls), _TERMS)]
            calls = [self.part(lambda _, group=group: JoinExpr(group), True)() for group in groups]  # type: ignore[misc]
        return JoinExpr(calls)

    def fold(self, start: Expr, terms: Sequence[Expr], combine: Callable[[Expr, Expr], Expr]) -> Expr:
        """``combine(combine(start, term 0), term 1)`` and so on."""
        if len(terms) > _TERMS:
            return self.part(lambda inner: inner._long_fold(start, terms, combine), _is_vector(start))()
        for term in terms:
            start = combine(start, term)
        return start

    def _long_fold(self, start: Expr, terms: Sequence[Expr], combine: Callable[[Expr, Expr], Expr]) -> Expr:
        total, given = start, NameExpr("total", _is_vector(start))
        for at in range(0, len(terms), _TERMS):
            some = terms[at : at + _TERMS]
            call = self.part(lambda inner, some=some: inner.fold(given, some, combine), given.vector, [given])  # type: ignore[misc]
            total = self.let(call(total))
            self.parameters.pop()  # later parts take it as `total`
        return total


class Writer:
    """Writes functions, each after those that it calls.

    Attributes:
        functions: The part of the file that a function stands in, and its text.
    """

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self.speaker = type("Spoken", (Speaker, dialect.interpreter()), {"dialect": dialect})()
        self.functions: list[tuple[int, str]] = []
        self._part = self._filled = 0
        self._known: dict[str, str] = {}

    def define(
        self,
        name: str,
        parameters: Sequence[NameExpr],
        build: Callable[[Scope], Expr],
        vector: bool,
        first: int = 0,
    ) -> str:
        """Write a function; gives the name that it is called by."""
        scope = Scope(self, name, parameters, first)
        before, self.speaker.numbers = self.speaker.numbers, 0
        with self._function(scope, vector):
            scope.generator.add_return_statement(scope.text(build(scope)))
        text = scope.generator.finalize_and_get_generated_code()
        numbers, self.speaker.numbers = self.speaker.numbers, before
        if self.dialect.numbers_per_part:
            self._filled += numbers + 10
            if self._filled > self.dialect.numbers_per_part:
                self._part, self._filled = self._part + 1, numbers
        self.functions.append((self._part, text))
        return self.dialect.called(name, self._part)

    @contextlib.contextmanager
    def _function(self, scope: Scope, vector: bool) -> Iterator[None]:
        scope.generator.add_code_line(self.dialect.signature(scope.name, scope.parameters, vector))
        scope.generator.increase_indent()
        yield
        scope.generator.add_block_termination()

    def helper(self, name: str, parameters: Sequence[str], build: Callable[..., Expr]) -> Callable[..., Expr]:
        """A function of numbers that several steps call; written once."""
        names = [NameExpr(p, False) for p in parameters]
        name = self.dialect.internal(name)
        if name not in self._known:
            self._known[name] = self.define(name, names, lambda _: build(*names), False)
        return lambda *values: CallExpr(self._known[name], values)

    def decide(
        self, name: str, parameters: Sequence[NameExpr], root: Hashable, expand: Callable[[Any], Expanded],
        width: int = 1, first: int = 0,
    ) -> Expr:  # fmt: skip
        """A function that branches, in pieces that call each other where it branches deeply or often.

        Args:
            name: Of the function.
            parameters: What it and its pieces take.
            root: The first question.
            expand: A question to the test and what follows where it holds and where not; or to an answer.
            width: Of an answer; 1 is a number, not a vector.
            first: Number of the first free variable.

        Returns:
            Its call.
        """
        vector, cost = width > 1, 1 + width // 3
        pieces = [(root, _piece(root, expand, cost))]
        at = 0
        while at < len(pieces):
            pieces += [(edge, _piece(edge, expand, cost)) for edge in pieces[at][1][1]]
            at += 1
        names: dict[Hashable, str] = {}
        for place in range(len(pieces) - 1, -1, -1):
            node, (inside, _) = pieces[place]

            def value(node: Hashable, inside: dict[Hashable, Expanded] = inside) -> Expr:
                if node in names:
                    return CallExpr(names[node], parameters, width, vector)
                found = inside[node]
                return choose(found[0], value(found[1]), value(found[2])) if isinstance(found, tuple) else found

            label = f"{name}_{place}" if place else name
            made = self.define(label, parameters, lambda _, node=node, value=value: value(node), vector, first)  # type: ignore[misc]
            names[node] = made
        return CallExpr(names[root], parameters, width, vector)


def _piece(
    root: Hashable, expand: Callable[[Any], Expanded], cost: int
) -> tuple[dict[Hashable, Expanded], list[Hashable]]:
    """The questions and answers of one function, and the questions that others must answer."""
    inside: dict[Hashable, Expanded] = {}
    edge: list[Hashable] = []
    waiting = deque([(root, 0)])
    spent = 0
    while waiting:
        node, depth = waiting.popleft()
        found = expand(node)
        if isinstance(found, tuple) and depth and (depth >= _DEPTH or spent >= _COST):
            edge.append(node)
            continue
        inside[node] = found
        if isinstance(found, tuple):
            spent += 1
            waiting.extend(((found[1], depth + 1), (found[2], depth + 1)))
        else:
            spent += cost
    return inside, edge
