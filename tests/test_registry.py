"""Names and options in text, for what is registered here or anywhere else."""

from __future__ import annotations

import pytest
import torch

from rambit import RaMbIT
from rambit.masks import FAMILIES, Bernoulli, Family, MaskSet
from rambit.registry import Registry, read

X = torch.randn(2, 2, 5, generator=torch.Generator().manual_seed(0))


def plain(x):
    return x[:, :2, -1]


@pytest.fixture
def one_more_family():
    @FAMILIES.register("last-steps")
    class LastSteps(Family):
        """The last steps are replaced."""

        sized = True

        def __init__(self, steps: int = 2) -> None:
            self.steps = steps

        def sample(self, count, D, T, *, seed, first=0, target_cells=None, device=None):
            masks = torch.ones(1, D, T, dtype=torch.bool)
            masks[:, :, T - self.steps :] = False
            return MaskSet(masks, torch.ones(1, dtype=torch.float64))

    yield LastSteps
    del FAMILIES._entries["last-steps"]


def test_a_family_from_outside(one_more_family):
    given = torch.ones(1, 2, 5, dtype=torch.bool)
    given[:, :, 2:] = False
    options = {"num_samples": 1, "anchor": "end", "window_size": 1}
    found = RaMbIT(plain, masks="last-steps:steps=3", **options).explain(X)
    assert torch.equal(found.values, RaMbIT(plain, masks=given, **options).attribute(X))
    assert found.settings["masks"] == {"name": "LastSteps", "steps": 3}
    with pytest.raises(ValueError, match=r"masks: family last-steps has no option 'stepz=3'; .*: steps"):
        RaMbIT(plain, masks="last-steps:stepz=3")


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_by_name_is_that_of_its_class(name):
    sizes = {"Wt_min": 2, "Wt_max": 3, "Wd_min": 1, "Wd_max": 2}
    family = FAMILIES.make(name, **sizes)
    assert type(family) is FAMILIES[name]
    assert FAMILIES.name_of(FAMILIES[name]) == name
    assert {key: vars(family)[key] for key in sizes if key in FAMILIES.parameters(name)} == {
        key: value for key, value in sizes.items() if key in FAMILIES.parameters(name)
    }
    target_cells = torch.arange(10, dtype=torch.int32)
    assert len(family.sample(3, 2, 5, seed=0, target_cells=target_cells)) > 0


def test_options_in_text():
    assert FAMILIES.make("bernoulli:p=0.3").p == Bernoulli(0.3).p
    for text, words in (
        ("bernoulli:p", "has no option 'p'; its options .*: p"),
        ("bernoulli:p=x", "'p=x' must be a number"),
        ("block:Wt_max=1.5", "'Wt_max=1.5' must be a whole number"),
        ("permutation:p=1", "its options .*: none"),
        ("dice", "unknown family 'dice'; known: all_blocks, bernoulli"),
    ):
        with pytest.raises(ValueError, match=words):
            FAMILIES.make(text)


def test_values_are_read_like_their_defaults():
    assert [read("it", text, like) for text, like in (("3", 1), ("3", 1.0), ("true", False), ("3", "a"))] == [
        3,
        3.0,
        True,
        "3",
    ]
    with pytest.raises(ValueError, match="it must be true or false"):
        read("it", "yes", False)


def test_names_are_taken_once():
    registry: Registry = Registry("thing")

    @registry.register("one")
    def one():
        """The first."""

    assert registry.register("one")(one) is one  # a module that is loaded again
    with pytest.raises(ValueError, match="there is a thing called 'one' already"):
        registry.register("one")(lambda: None)
    for name in ("", "a:b", "a b", "a,b", "a=b"):
        with pytest.raises(ValueError, match="needs a name"):
            registry.register(name)
    assert ("one" in registry, "two" in registry, list(registry), len(registry)) == (True, False, ["one"], 1)
