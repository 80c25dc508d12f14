"""What users name in text: each mask family, strategy, method and measure is registered where it is defined."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, TypeVar

T = TypeVar("T", bound=Callable[..., Any])


class Registry(Generic[T]):
    """Classes or functions by the name that users type; an option of one stands behind it: ``bernoulli:p=0.3``.

    ``what``: what they are, for errors. Yours are registered like ours: ``@FAMILIES.register("my-name")``.
    """

    def __init__(self, what: str) -> None:
        self.what = what
        self._entries: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """A decorator that gives a class or function its name. Raises ValueError for a name that is taken."""
        if not name or set(name) & set(":,= "):
            raise ValueError(f"a {self.what} needs a name without ':', ',', '=' and spaces, got {name!r}")

        def add(entry: T) -> T:
            known = self._entries.get(name)
            if known is not None and (known.__module__, known.__qualname__) != (entry.__module__, entry.__qualname__):
                raise ValueError(f"there is a {self.what} called {name!r} already: {known.__qualname__}")
            self._entries[name] = entry
            return entry

        return add

    def __getitem__(self, name: str) -> T:
        if name not in self._entries:
            raise ValueError(f"unknown {self.what} {name!r}; known: {', '.join(sorted(self._entries))}")
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def name_of(self, entry: Any) -> str | None:
        """The name that an entry is registered under, if it is."""
        return next((name for name, known in self._entries.items() if known is entry), None)

    def parameters(self, name: str) -> Mapping[str, inspect.Parameter]:
        """What an entry takes."""
        return inspect.signature(self[name]).parameters

    def make(self, text: str, **common: Any) -> Any:
        """What ``name`` or ``name:option=value,…`` says, with those ``common`` arguments that it takes.

        Raises ValueError for a name or an option that there is not, or a value that cannot be read.
        """
        name, options = self.parse(text)
        takes = self.parameters(name)
        return self[name](**{key: value for key, value in common.items() if key in takes} | options)

    def make_for(self, argument: str, text: str, **common: Any) -> Any:
        """Like `make`; an error in the text names the argument that it was given as."""
        try:
            self.parse(text)
        except ValueError as error:
            raise ValueError(f"{argument}: {error}") from None
        return self.make(text, **common)

    def parse(self, text: str) -> tuple[str, dict[str, Any]]:
        """The name and the options of a text, each read like its default. Raises ValueError."""
        name, _, given = text.partition(":")
        takes, options = self.parameters(name), {}
        for part in filter(None, given.split(",")):
            key, equals, value = part.partition("=")
            if not equals or key not in takes:
                listed = ", ".join(takes) or "none"
                raise ValueError(f"{self.what} {name} has no option {part!r}; its options (as name=value): {listed}")
            options[key] = read(f"{self.what} {name}: {part!r}", value, takes[key].default)
        return name, options


def read(what: str, text: str, like: Any) -> Any:
    """A value from text, of the kind of another: a switch, a whole number, a number, or the text itself."""
    if isinstance(like, bool):
        if text not in ("true", "false"):
            raise ValueError(f"{what} must be true or false")
        return text == "true"
    for kind, words in ((int, "a whole number"), (float, "a number")):
        if isinstance(like, kind):
            try:
                return kind(text)
            except ValueError:
                raise ValueError(f"{what} must be {words}") from None
    return text
