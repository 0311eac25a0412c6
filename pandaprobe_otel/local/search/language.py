"""Parser of the search language: a text becomes a query.

    query = and { "OR" and } ;        and  = term { ["AND"] term } ;
    term  = ["-" | "NOT"] ( "(" query ")" | field | flag | text ) ;
    field = key (":" | "=" | ">" | ">=" | "<" | "<=") value { "," value } | "score:" name comparison number ;
    flag  = "error" | "running" | "scored" ;   text = word ["*"] | '"' phrase '"' ;

Within a phrase, `\\"` is a quotation mark. An unknown key is text, so that addresses and code can be searched for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, TypeAlias

from pandaprobe_otel.local.search.searchable_fields import (
    FIELDS,
    FieldKind,
    Operand,
    SearchError,
    read_operand,
)
from pandaprobe_otel.local.search.text_words import SHORTEST_PREFIX, phrase_of

MAX_LENGTH: Final = 2000
MAX_TERMS: Final = 40
MAX_LEVELS: Final = 20
FLAGS: Final = ("error", "running", "scored")


@dataclass(frozen=True, slots=True)
class Field:
    """A field with its possible values. `name` is the second half of `meta.NAME` and `score:NAME`.

    `comparison` is `=`, `<`, `<=`, `>` or `>=`.
    """

    key: str
    comparison: str
    operands: tuple[Operand, ...]
    name: str = ""


@dataclass(frozen=True, slots=True)
class Flag:
    """One of `FLAGS`."""

    name: str


@dataclass(frozen=True, slots=True)
class Text:
    """Consecutive words in a name, an error, an input or an output. The last word may be only a prefix."""

    text: str
    is_prefix: bool = False


@dataclass(frozen=True, slots=True)
class Not:
    """A query that must not match."""

    part: Query


@dataclass(frozen=True, slots=True)
class All:
    """Queries that must all match. Without queries, everything matches."""

    parts: tuple[Query, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Queries of which at least one must match."""

    parts: tuple[Query, ...]


Query: TypeAlias = Field | Flag | Text | Not | All | AnyOf


@dataclass(frozen=True, slots=True)
class Parsed:
    """A query, and notes for its author."""

    query: Query
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    at: int


_TOKEN: Final = re.compile(
    r"""\s*(?:
        (?P<open>\() | (?P<close>\)) |
        (?P<minus>-)(?=\S) |
        (?P<field>(?P<key>[A-Za-z_][\w.]*)(?P<mark>:(?!//)|>=|<=|=|>|<)(?P<value>(?:"[^"]*"|[^\s()"])*)) |
        "(?P<phrase>(?:[^"\\]|\\.?)*)(?P<end>"|\Z) |
        (?P<word>[^\s()"]+)
    )""",
    re.VERBOSE | re.DOTALL,
)
_SIMPLE: Final = re.compile(r"[\w.@/+-]+")
_ESCAPED: Final = re.compile(r"\\([\"\\])")
_SCORE: Final = re.compile(r"(?P<name>[^<>=]+)(?P<mark>>=|<=|=|>|<)(?P<number>.+)", re.DOTALL)
_VALUE: Final = re.compile(r'"([^"]*)"|([^,"]+)|(,)')


def parse(text: str) -> Parsed:
    """Parse a query. An empty one matches everything. Raises SearchError with the reason and position."""
    if len(text) > MAX_LENGTH:
        raise SearchError(f"a search can have at most {MAX_LENGTH:,} characters", MAX_LENGTH)
    parser = _Parser(text)
    query = parser.any_of(level=0)
    if parser.next is not None:
        raise SearchError("a closing bracket without an opening one", parser.next.at)
    return Parsed(query, tuple(dict.fromkeys(parser.notes)))


def narrowed(text: str, term: str) -> str:
    """Return a query with one more term, which all its traces must match."""
    return f"{as_term(text)} {term}".strip()


def as_term(text: str) -> str:
    """Return a query to which a term can be added that all its traces must match: alternatives get brackets."""
    text = text.strip()
    try:
        has_alternatives = isinstance(parse(text).query, AnyOf) and not _is_bracketed(text)
    except SearchError:
        has_alternatives = False
    return f"({text})" if has_alternatives else text


def _is_bracketed(text: str) -> bool:
    """Return whether one pair of brackets encloses all of a query."""
    level = 0
    tokens = _tokens(text)
    for token in tokens:
        level += (token.kind == "open") - (token.kind == "close")
        if level == 0:
            return token is tokens[-1]
    return False


def search_for(key: str, name: str) -> str:
    """Return the search for a name. A name that the language cannot quote is searched for by its beginning."""
    if _SIMPLE.fullmatch(name):
        return f"{key}:{name}"
    quoted = name.partition('"')[0]
    return f'{key}:"{quoted}{"" if quoted == name else "*"}"'


def search_for_score(name: str) -> str | None:
    """Return the search for all traces with a numeric score of a name; None if the language cannot write the name."""
    if not name.strip() or set(name) & set('"<>='):
        return None
    quoted = name if _SIMPLE.fullmatch(name) else f'"{name}"'
    return f"score:{quoted}>=0"


class _Parser:
    """Parser of terms from left to right."""

    def __init__(self, text: str) -> None:
        self.notes: list[str] = []
        self._tokens = list(_tokens(text))
        self._position = self._terms = 0

    @property
    def next(self) -> _Token | None:
        """The next token; None at the end."""
        return self._tokens[self._position] if self._position < len(self._tokens) else None

    def any_of(self, *, level: int) -> Query:
        """Parse the parts around `OR`."""
        if level > MAX_LEVELS:
            raise SearchError(f"brackets can be nested at most {MAX_LEVELS} times", self._at())
        parts = [self._all(level)]
        while self._takes("OR"):
            parts.append(self._all(level))
        return parts[0] if len(parts) == 1 else AnyOf(tuple(parts))

    def _all(self, level: int) -> Query:
        parts: list[Query] = []
        while (token := self.next) is not None and token.kind != "close" and not _is_word(token, "OR"):
            if self._takes("AND"):
                continue
            parts.append(self._term(level))
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def _term(self, level: int) -> Query:
        self._terms += 1
        if self._terms > MAX_TERMS:
            raise SearchError(f"a search can have at most {MAX_TERMS} terms", self._at())
        token = self._take()
        if token.kind == "minus" or _is_word(token, "NOT"):
            if self.next is None or self.next.kind == "close":
                raise SearchError("nothing follows the negation", token.at)
            return Not(self._term(level))
        if token.kind == "open":
            inner = self.any_of(level=level + 1)
            if self.next is None:
                raise SearchError("a bracket is not closed", token.at)
            self._take()
            return inner
        if token.kind == "field":
            return self._field(token)
        if token.kind == "word" and token.text in FLAGS:
            return Flag(token.text)
        return self._text(token)

    def _text(self, token: _Token) -> Query:
        text = _ESCAPED.sub(r"\1", token.text) if token.kind == "phrase" else token.text.rstrip("*")
        is_prefix = token.kind == "word" and token.text.endswith("*")
        phrase = phrase_of(text)
        if phrase is None:
            self.notes.append(f"“{token.text}” contains no word")
        elif is_prefix and len(phrase.words[-1]) < SHORTEST_PREFIX:
            raise SearchError(f"a word before * needs at least {SHORTEST_PREFIX} letters", token.at)
        return Text(text, is_prefix)

    def _field(self, token: _Token) -> Query:
        found = _TOKEN.match(token.text)
        assert found is not None
        key, mark, value = found["key"].lower(), found["mark"], found["value"]
        name = ""
        if key.startswith("meta.") and len(key) > 5:
            key, name = "meta", found["key"][5:]
        field = FIELDS.get(key)
        if field is None or (key == "meta" and not name):
            self.notes.append(f"{found['key']} is not a field, so “{token.text}” was searched for as text")
            return self._text(_Token("phrase", token.text.replace('"', ""), token.at))
        at = token.at + len(found["key"]) + len(mark)
        if field.kind is FieldKind.SCORE:
            score = _SCORE.fullmatch(value)
            if mark != ":" or score is None:
                raise SearchError("a score needs a comparison with a number: score:task_completion<0.5", token.at)
            name, mark, value = score["name"].strip('"'), score["mark"], score["number"]
        comparison = "=" if mark == ":" else mark
        if comparison != "=" and not field.kind.is_ordered:
            raise SearchError(f"{key} cannot be compared with < or >: write {key}:value", token.at)
        operands = tuple(read_operand(field, text, at, comparison) for text in _values(value, at))
        if len(operands) > 1 and comparison != "=":
            raise SearchError(f"{key} can be compared with only one value", at)
        return Field(key, comparison, operands, name)

    def _takes(self, word: str) -> bool:
        if self.next is None or not _is_word(self.next, word):
            return False
        self._position += 1
        return True

    def _take(self) -> _Token:
        token = self._tokens[self._position]
        self._position += 1
        return token

    def _at(self) -> int:
        return self._tokens[min(self._position, len(self._tokens) - 1)].at if self._tokens else 0


def _tokens(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    at = 0
    while at < len(text) and text[at:].strip():
        found = _TOKEN.match(text, at)
        assert found is not None, "every character is in one of the forms"
        kind = next(name for name in ("open", "close", "minus", "field", "phrase", "word") if found[name] is not None)
        if kind == "phrase" and found["end"] == "":
            raise SearchError("a quotation mark is not closed", found.start("phrase") - 1)
        tokens.append(_Token(kind, found[kind], found.start(kind)))
        at = found.end()
    return tokens


def _values(text: str, at: int) -> list[str]:
    found = list(_VALUE.finditer(text))
    values = [(each[1] if each[1] is not None else each[2]).strip() for each in found if each[3] is None]
    commas = len(found) - len(values)
    if len(values) != commas + 1 or not all(values):
        raise SearchError("a value is missing", at)
    return values


def _is_word(token: _Token, word: str) -> bool:
    return token.kind == "word" and token.text == word
