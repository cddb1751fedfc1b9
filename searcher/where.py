"""The conditions of `--where`: `hidden>=2 and (downsample*==fp16 or not accuracy<60%)`; no torch, no optuna, no rich.

Grammar, loosest first:

    condition  = term { "or" term }
    term       = factor { "and" factor }
    factor     = "not" factor | "(" condition ")" | comparison
    comparison = FIELD ( == | = | != | < | <= | > | >= ) VALUE

FIELD is what `TrialFields.named` knows. Where it is a glob over several layers or widths, every one of them must
satisfy the comparison; so `not downsample*==fp16` means that at least one is something else. VALUE is a number with a
unit or per cent sign where the field has one, a precision (ordered by bits), or words, quoted where they hold an
operator or a keyword; words can be globs. A trial that has no such value (the accuracy of one that failed) satisfies no
comparison.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, TypeAlias

from bhvit.errors import InvalidInput, unknown_name
from bhvit.precision import PRECISIONS
from searcher import measures
from searcher.records import TrialRecord
from searcher.trial_fields import Field, TrialFields

Predicate: TypeAlias = Callable[[TrialRecord], bool]

_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
DEEPEST = 100
_KEYWORDS = ("and", "or", "not")
_TOKEN = re.compile(
    r"""\s*(?:(?P<operator>==|!=|<=|>=|=|<|>)
          | (?P<bracket>[()])
          | (?P<quoted>'[^']*'|"[^"]*")
          | (?P<word>(?:\[[^\]\s]*\]|[^\s()<>=!'"\[\]&|])+))""",
    re.VERBOSE,
)


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    start: int

    @property
    def keyword(self) -> str:
        """The keyword that the token is, or nothing."""
        lowered = self.text.lower()
        return lowered if self.kind == "word" and lowered in _KEYWORDS else ""

    def __str__(self) -> str:
        return "the end" if self.kind == "end" else repr(self.text)


def condition(text: str, fields: TrialFields) -> Predicate:
    """Whether a trial satisfies `text`; raises `InvalidInput` that points at the place where it is wrong."""
    return _Parser(text, fields).parsed()


class _Parser:
    """Recursive descent over the tokens of one condition."""

    def __init__(self, text: str, fields: TrialFields) -> None:
        self.text, self.fields = text, fields
        self.tokens = list(self._tokens())
        self.place = self.depth = 0

    def parsed(self) -> Predicate:
        """The whole condition."""
        result = self._any()
        if self._next.kind != "end":
            raise self._error(f"expected and, or or the end, but found {self._next}", self._next)
        return result

    def _tokens(self) -> list[_Token]:
        found, at, end = [], 0, len(self.text.rstrip())
        while at < end:
            match = _TOKEN.match(self.text, at)
            if match is None:
                rest = self.text[at:].lstrip()
                odd = _Token("odd", rest[0], len(self.text) - len(rest))
                if odd.text in "'\"[":
                    raise self._error(f"{odd.text} is not closed", odd)
                raise self._error(f"{odd.text} has no meaning here; join comparisons by and, or, not", odd)
            kind = str(match.lastgroup)
            found.append(_Token(kind, match[kind], match.start(kind)))
            at = match.end()
        return [*found, _Token("end", "", end)]

    @property
    def _next(self) -> _Token:
        return self.tokens[self.place]

    def _take(self) -> _Token:
        token = self._next
        self.place += token.kind != "end"
        return token

    def _any(self) -> Predicate:
        return self._joined("or", self._all, any)

    def _all(self) -> Predicate:
        return self._joined("and", self._one, all)

    def _joined(self, keyword: str, part: Callable[[], Predicate], join: Callable[[Any], bool]) -> Predicate:
        parts = [part()]
        while self._next.keyword == keyword:
            self._take()
            parts.append(part())
        return parts[0] if len(parts) == 1 else lambda record: join(p(record) for p in parts)

    def _one(self) -> Predicate:
        self.depth += 1
        if self.depth > DEEPEST:
            raise self._error(f"more than {DEEPEST} not and ( within each other; write it flatter", self._next)
        try:
            return self._factor()
        finally:
            self.depth -= 1

    def _factor(self) -> Predicate:
        if self._next.keyword == "not":
            self._take()
            inner = self._one()
            return lambda record: not inner(record)
        if self._next.text == "(" and self._next.kind == "bracket":
            opened = self._take()
            inner = self._any()
            if self._take().text != ")":
                raise self._error("( is not closed", opened)
            return inner
        return self._comparison()

    def _comparison(self) -> Predicate:
        left = self._take()
        if left.kind not in ("word", "quoted") or left.keyword:
            raise self._error(f"expected a comparison such as hidden>=2, but found {left}", left)
        try:
            field = self.fields.named(_unquoted(left), "field")
        except InvalidInput as error:
            raise self._error(str(error).removesuffix("."), left) from error
        sign = self._take()
        if sign.kind != "operator":
            raise self._error(f"expected one of {' '.join(_OPERATORS)} after {left.text}, but found {sign}", sign)
        first, words = self._next, []
        while self._next.kind in ("word", "quoted") and not self._next.keyword:
            words.append(_unquoted(self._take()))
        if not words:
            raise self._error(f"expected a value after {left.text}{sign.text}, but found {first}", first)
        try:
            return _compared(field, sign.text, " ".join(words))
        except InvalidInput as error:
            raise self._error(str(error).removesuffix("."), first) from error

    def _error(self, message: str, token: _Token) -> InvalidInput:
        where = f"{self.text[: token.start]}▸{self.text[token.start :]}".strip()
        return InvalidInput(f"--where: {message}; at the ▸ in: {where}")


def _unquoted(token: _Token) -> str:
    return token.text[1:-1] if token.kind == "quoted" else token.text


def _compared(field: Field, sign: str, text: str) -> Predicate:
    """Whether each of the field's values compares so with the value that `text` means."""
    measure, compare, values = field.measure, _OPERATORS[sign], field.values
    right = measure.parse(text, field.name)
    if not measure.ordered:
        return _matched(field, sign, text)
    if measure is measures.PRECISION:
        true = {name for name in PRECISIONS if compare(measure.key(name), measure.key(right))}
        return lambda record: all(value in true for value in values(record))
    return lambda record: all(value is not None and compare(value, right) for value in values(record))


def _matched(field: Field, sign: str, pattern: str) -> Predicate:
    """Whether words match a glob, or do not."""
    if sign not in ("==", "=", "!="):
        raise InvalidInput(f"{field.name} has no order; compare it by == or !=.")
    if field.words and not any(fnmatchcase(word, pattern) for word in field.words):
        raise unknown_name(field.name, pattern, field.words)
    wanted = sign != "!="
    return lambda record: all(
        value is not None and fnmatchcase(str(value), pattern) == wanted for value in field.values(record)
    )
