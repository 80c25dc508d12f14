"""Options, declared once: fields of a class that say their type, default, bounds, and in one line what they are.

From them come the constructor with its checks, what ``help`` and editors show, the record of a run, and the flags.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import inspect
import math
import textwrap
import types
import warnings
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, ClassVar, Literal, Union, get_args, get_origin, get_type_hints

from typing_extensions import dataclass_transform

from rambit.checks import count, flag, member, number, one_of


@dataclasses.dataclass(frozen=True)
class Option:
    """What a class says of one of its fields. ``kind``: its type; ``names``: the texts that a closed set allows."""

    name: str
    kind: Any
    default: Any
    help: str
    low: float | None
    high: float
    above: bool
    recorded: bool

    @functools.cached_property
    def kinds(self) -> tuple[Any, ...]:
        """The types of which a value may be."""
        return get_args(self.kind) if get_origin(self.kind) in (Union, types.UnionType) else (self.kind,)

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        """The texts that are allowed where they are a closed set."""
        if self.enum is not None:
            return tuple(one.value for one in self.enum)
        return tuple(name for kind in self.kinds if get_origin(kind) is Literal for name in get_args(kind))

    @functools.cached_property
    def enum(self) -> type[Enum] | None:
        """The enum whose members, or their values, are allowed."""
        return next((kind for kind in self.kinds if isinstance(kind, type) and issubclass(kind, Enum)), None)

    def checked(self, value: Any) -> Any:
        """The value as a plain int, float, bool or text of the set; of any other type it is left to the class.

        Raises TypeError or ValueError naming the option, what was given and what is allowed.
        """
        kinds = self.kinds
        if value is None and (self.default is None or type(None) in kinds):
            return None
        if self.enum is not None:
            return member(self.name, value, self.enum)
        if self.names and ((isinstance(value, str) and value in self.names) or int not in kinds):
            return one_of(self.name, value, self.names)
        if bool in kinds:
            return flag(self.name, value)
        if int in kinds:
            return count(self.name, value, 1 if self.low is None else int(self.low), int(min(2**63 - 1, self.high)))
        if kinds == (float,):
            return number(self.name, value, -math.inf if self.low is None else self.low, self.high, above=self.above)
        return value


def option(
    *,
    help: str,
    default: Any = dataclasses.MISSING,
    low: float | None = None,
    high: float = math.inf,
    above: bool = False,
    recorded: bool = True,
    kw_only: bool = True,
) -> Any:
    """A field that is an option. Numbers lie in ``low`` … ``high``; without ``low``, whole ones are at least 1.

    ``above``: low itself is too small. ``recorded``: results depend on it, so that their settings name it.
    A default of None, where the type has no None, stands for what the class chooses.
    """
    said = {"help": help, "low": low, "high": high, "above": above, "recorded": recorded}
    return dataclasses.field(default=default, kw_only=kw_only, metadata=said)


@dataclass_transform(kw_only_default=True, eq_default=False, field_specifiers=(option,))
class Options:
    """A class whose annotated fields are options: its constructor takes and checks them.

    A subclass may look at them together in ``__post_init__``, after that of this class.
    """

    #: Options that had another name, which still works and warns, by that name.
    renamed: ClassVar[Mapping[str, str]] = {}
    #: Options of related classes for which this one has no use.
    unused: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        dataclasses.dataclass(eq=False, repr=False)(cls)
        if "__init__" in vars(cls) and not hasattr(cls.__init__, "__wrapped__"):
            cls.__init__ = _by_name(cls, cls.__init__)  # type: ignore[method-assign]
        cls.__signature__ = _signature(cls)  # type: ignore[attr-defined]
        helps = _helps(cls)  # type: ignore[arg-type]
        lines = [f"* ``{name}``: {helps[name]}" for name in cls.__signature__.parameters if name in helps]  # type: ignore[attr-defined]
        described = "\n".join(
            line if len(line) < 100 else textwrap.fill(line, 100, subsequent_indent="  ") for line in lines
        )
        cls.__doc__ = f"{inspect.cleandoc(cls.__doc__ or '')}\n\nOptions:\n\n{described}\n"

    def __post_init__(self) -> None:
        for one in self.options():
            setattr(self, one.name, one.checked(getattr(self, one.name)))

    @classmethod
    def options(cls) -> tuple[Option, ...]:
        """Every option of the class, its own first."""
        return _options(cls)  # type: ignore[arg-type]

    @classmethod
    def describe(cls, name: str) -> str:
        """What one option is, for a class that gives it another default."""
        return _helps(cls)[name]  # type: ignore[arg-type]

    def recorded(self) -> dict[str, Any]:
        """The options on which results depend, as they are now."""
        return {one.name: getattr(self, one.name) for one in self.options() if one.recorded}


@functools.cache
def _options(cls: type) -> tuple[Option, ...]:
    types_of, fields = get_type_hints(cls), {field.name: field for field in dataclasses.fields(cls)}
    return tuple(Option(name, types_of[name], fields[name].default, **fields[name].metadata) for name in _helps(cls))


@functools.cache
def _helps(cls: type) -> dict[str, str]:
    """What each option is, by name: those of the class itself first, then those of the classes below it."""
    found: dict[str, str] = {}
    fields = {field.name: field for field in dataclasses.fields(cls)}
    for owner in cls.__mro__:
        for name in vars(owner).get("__annotations__", {}):
            if name in fields and "help" in fields[name].metadata:
                found.setdefault(name, fields[name].metadata["help"])
    return found


def _signature(cls: type) -> inspect.Signature:
    """That of the constructor; what is given by name stands in the order of ``_helps``."""
    given = list(inspect.signature(cls.__init__).parameters.values())[1:]  # type: ignore[misc]
    if given and given[-1].kind is inspect.Parameter.VAR_KEYWORD:  # a constructor that hands the rest on
        own = {one.name for one in given}
        passed_on = inspect.signature(cls.__mro__[1]).parameters.values()
        given = given[:-1] + [one for one in passed_on if one.name not in own and one.kind is one.KEYWORD_ONLY]
    place = {name: i for i, name in enumerate(_helps(cls))}
    by_name = sorted((one for one in given if one.kind is one.KEYWORD_ONLY), key=lambda one: place.get(one.name, -1))
    return inspect.Signature([*(one for one in given if one.kind is not one.KEYWORD_ONLY), *by_name])


def _by_name(cls: type[Options], made: Callable[..., None]) -> Callable[..., None]:
    """The constructor, which takes older names too and, of an unknown one, says which it takes."""
    takes = inspect.signature(made).parameters
    if any(one.kind is one.VAR_KEYWORD for one in takes.values()):
        return made

    @functools.wraps(made)
    def init(self: Any, *args: Any, **given: Any) -> None:
        for old in given.keys() & cls.renamed.keys():
            new = cls.renamed[old]
            if new in given:
                raise ValueError(f"{old} is the older name of {new}: give one of them")
            warnings.warn(f"{old} is called {new} now", DeprecationWarning, stacklevel=2)
            given[new] = given.pop(old)
        if useless := sorted(given.keys() & set(cls.unused)):
            raise ValueError(f"{', '.join(useless)} does not apply to {cls.__name__}: leave it out")
        if unknown := sorted(given.keys() - takes.keys()):
            known = sorted(takes.keys() - {"self", "model"})
            close = difflib.get_close_matches(unknown[0], known, 1)
            hint = f"did you mean {close[0]}? it takes" if close else "it takes"
            raise TypeError(f"{cls.__name__} takes no {', '.join(unknown)}; {hint} {', '.join(known)}")
        made(self, *args, **given)

    return init
