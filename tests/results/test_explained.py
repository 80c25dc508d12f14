"""What ``explain`` puts into a result: names, targets, the model's outputs, the input, a hash of the model."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rambit import RaMbIT
from rambit.attribution import FO, Occlusion, WinIT
from rambit.game import Game
from rambit.labels import Labels
from rambit.results import Attribution
from rambit.rex import ReX
from rambit.sufficiency import explain

X = torch.randn(3, 2, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


class Last(nn.Module):
    """Probabilities (N, 3), or forecasts (N, 2, 3), from the last step."""

    def __init__(self, outputs: int = 3, shape: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.layer, self.shape = nn.Linear(2, outputs, dtype=torch.float64), shape
        with torch.no_grad():
            self.layer.weight.copy_(torch.arange(2.0 * outputs).view(outputs, 2).sin())
            self.layer.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x[:, :, -1])
        return out.view(len(x), *self.shape) if self.shape else out.softmax(1)


def rambit(model: nn.Module | None = None, **options: Any) -> RaMbIT:
    given = {"L": 2, "num_samples": 1, "window_size": 1, "anchor": "end", "output": "probs", **options}
    return RaMbIT(Last() if model is None else model, **given)


def test_outputs_are_those_that_were_evaluated_anyway() -> None:
    """The rows are as many as without them, where a question evaluates the series as they are."""
    for method in (
        rambit(),
        rambit(anchor="cell"),
        WinIT(Last(), output="probs", num_samples=1),
        Occlusion(Last(), output="probs"),
    ):
        result = method.explain(X)
        assert result.outputs is not None
        torch.testing.assert_close(result.outputs, Last()(X).detach())
        assert method.cost(X).rows == result.rows
    masks = torch.ones(1, 2, 6, dtype=torch.bool)
    masks[:, :, 1] = False
    early = rambit(anchor="mask", masks=masks, L=20, window_size=2)  # compared at steps 2 and 3 alone
    seen = rambit(anchor="mask", masks=masks.flip(2), L=20, window_size=2)
    assert early.explain(X).rows == early.cost(X).rows
    torch.testing.assert_close(early.explain(X).outputs, Last()(X).detach())
    torch.testing.assert_close(seen.explain(X, lengths=[6, 4, 5]).outputs[1], Last()(X[1:2, :, :4])[0].detach())  # type: ignore[index]


@pytest.mark.parametrize("kind", [RaMbIT, WinIT])
def test_a_chunk_of_series_after_the_other(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    noted: list[slice] = []
    note = Game.note_original

    def spy(self: Game, series: slice, outputs: Tensor | None) -> None:
        noted.append(series)
        note(self, series, outputs)

    monkeypatch.setattr(Game, "note_original", spy)
    many = torch.randn(30, 2, 60, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    own: dict[str, Any] = {"L": 1, "anchor": "end"} if kind is RaMbIT else {}
    method = kind(Last(), output="probs", num_samples=1, window_size=8, max_memory=1 << 20, **own)
    torch.testing.assert_close(method.explain(many).outputs, Last()(many).detach())
    assert len({series.start for series in noted}) > 1, "there are chunks"


def test_a_resumed_run_has_outputs_too(tmp_path: Any) -> None:
    first = rambit().explain(X, checkpoint=tmp_path / "c")
    again = rambit().explain(X, checkpoint=tmp_path / "c")
    assert torch.equal(first.values, again.values)
    torch.testing.assert_close(again.outputs, first.outputs)


def test_the_target_of_each_series_is_kept() -> None:
    predicted = Last()(X).argmax(1)
    for target, expected in ((None, predicted), (2, torch.full((3,), 2)), ([2, 0, 1], torch.tensor([2, 0, 1]))):
        found = rambit(distance="diff").explain(X, target=target)
        assert found.target is not None
        assert torch.equal(found.target, expected)
        assert found.targets is None
    assert rambit().explain(X).target is None, "all outputs together moved"
    several = rambit(distance="diff").explain(X, targets=[2, 0], labels={"outputs": ["a", "b", "c"]})
    assert (several.targets, several.target) == ([2, 0], None)
    alone = rambit(distance="diff").explain(X, target=0)
    assert torch.equal(several.sel(target="a").values, alone.values)
    assert rambit(distance="diff").explain(X, targets="all").targets == [0, 1, 2]


def test_forecasts() -> None:
    method = rambit(Last(6, (2, 3)), output="regression")
    names = [f"{h}/{q}" for h in range(2) for q in range(3)]
    found = method.explain(X, target=(1, 2), labels={"outputs": names})
    assert found.outputs is not None
    torch.testing.assert_close(found.outputs, Last(6, (2, 3))(X).detach())
    assert found.target is not None
    assert found.target.tolist() == [[1, 2]] * 3
    every = method.explain(X, targets="all", labels={"outputs": names})
    assert every.targets == [[h, q] for h in range(2) for q in range(3)]
    assert torch.equal(every.sel(target="1/2").values, found.values)
    single = method.explain(X, target=lambda y: y[:, 0].sum(1), labels={"outputs": names})
    assert (single.target, single.labels.outputs) == (None, None), "these are names of other outputs"


@pytest.mark.parametrize("layout", ["BDT", "BTD"])
def test_the_input_is_a_copy_as_it_was_given(layout: str) -> None:
    class Turned(Last):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.transpose(1, 2))

    given = X.clone() if layout == "BDT" else X.transpose(1, 2).contiguous()
    given[1, 0, 0] = torch.nan
    observed, lengths = ~given.isnan(), [6, 6, 4]
    method = rambit(Last() if layout == "BDT" else Turned(), layout=layout)
    result = method.explain(given, observed=observed, lengths=lengths)
    before = given.clone()
    given.fill_(9)
    assert result.X is not None
    series = result.X if layout == "BDT" else result.X.transpose(1, 2)
    expected = before if layout == "BDT" else before.transpose(1, 2)
    torch.testing.assert_close(series[:2], expected[:2], equal_nan=True)
    assert bool(series[2, :, 4:].isnan().all()), "padding holds no value"
    torch.testing.assert_close(series[2, :, :4], expected[2, :, :4])
    masked = np.ma.masked_array(np.ones((1, 2, 6)), mask=np.eye(2, 6, dtype=bool)[None])
    assert rambit().explain(masked).X.isnan().sum() == 2  # type: ignore[union-attr]


def test_labels_are_checked_before_any_work() -> None:
    calls: list[int] = []

    def model(x: Tensor) -> Tensor:
        calls.append(len(x))
        return Last()(x)

    method = FO(model, output="probs")
    for labels, error in (({"features": ["a"]}, ValueError), ({"times": [1]}, ValueError), ("hr", TypeError)):
        with pytest.raises(error, match="labels"):
            method.explain(X, labels=labels)
    with pytest.raises(TypeError, match="keep_input must be True or False, got 1"):
        method.explain(X, keep_input=1)  # type: ignore[arg-type]
    assert not calls
    with pytest.warns(UserWarning, match="labels name 2 outputs, but the model has 3: their names are left out"):
        found = method.explain(X, labels={"outputs": ["a", "b"], "features": ["x", "y"]})
    assert found.labels == Labels(features=("x", "y"))


def test_the_hash_tells_models_apart() -> None:
    changed = Last()
    with torch.no_grad():
        changed.layer.bias[0] = 1e-3
    hashes = [rambit(model).explain(X).model for model in (Last(), Last(), changed)]
    assert hashes[0] is not None
    assert hashes[0] == hashes[1] != hashes[2]
    assert FO(lambda x: Last()(x), output="probs").explain(X).model is None, "a function cannot be told"
    assert FO(lambda x: Last()(x), output="probs", model_id="mine").explain(X).model is not None


def image(x: Tensor) -> Tensor:
    light = x.flatten(1).mean(1)
    return torch.stack((1 - light, light), dim=1)


def series(x: Tensor) -> Tensor:
    share = x[:, 0, 2:4].mean(1).sigmoid()
    return torch.stack((1 - share, share), dim=1)


@pytest.mark.parametrize("keep", [True, False])
def test_rex(keep: bool) -> None:
    x = torch.zeros(1, 2, 6)
    x[0, 0, 2:4] = 5
    labels = {"features": ["hr", "bp"], "times": np.arange(6) * 10, "unit": "s", "outputs": ["no", "yes"]}
    found = ReX(series, iters=2, min_box_size=1, output="probs").explain(x, labels=labels, keep_input=keep)
    assert found.labels == Labels.of(labels)
    torch.testing.assert_close(found.outputs, series(x)[0])
    assert (found.x is None) != keep
    assert found.x is None or torch.equal(found.x, x)
    assert repr(found).startswith("RexExplanation(2 x 6; yes; ")
    for wrong, message in (({"features": ["a"]}, r"labels\.features"), ({"outputs": ["a"]}, r"labels\.outputs")):
        with pytest.raises(ValueError, match=message):
            ReX(series, iters=2, min_box_size=1, output="probs").explain(x, labels=wrong)
    with pytest.raises(ValueError, match="are for series"):
        ReX(image, output="probs").explain(torch.ones(1, 1, 4, 4), labels={"features": ["a"]})


def test_sufficiency() -> None:
    batch = torch.zeros(2, 2, 6)
    batch[:, 0, 2:4] = 5
    labels = {
        "features": ["hr", "bp"],
        "times": np.arange(12).reshape(2, 6),
        "series": ["a", "b"],
        "outputs": ["no", "yes"],
    }
    found = explain(series, batch, output="probs", labels=labels)
    assert isinstance(found, list)
    for b, one in enumerate(found):
        assert one.labels == Labels.of(labels).take(series=[b])
        torch.testing.assert_close(one.outputs, series(batch)[b])
        assert one.x is not None
        assert torch.equal(one.x, batch[b])
        assert "; yes; " in repr(one)
    bare = explain(series, batch, output="probs", keep_input=False)
    assert isinstance(bare, list)
    assert [one.x for one in bare] == [None, None]
    table = explain(lambda x: series(x[:, None]), batch[:1, 0], output="probs", labels={"features": list("abcdef")})
    assert table.labels.features == tuple("abcdef")  # type: ignore[union-attr]
    for wrong in ({"series": ["a"]}, {"features": ["a"]}, {"times": [1]}, {"outputs": ["a"]}):
        with pytest.raises(ValueError, match=f"labels.{next(iter(wrong))}"):
            explain(series, batch, output="probs", labels=wrong)
    with pytest.raises(ValueError, match="are for series"):
        explain(image, torch.ones(1, 1, 4, 4), output="probs", labels={"features": ["a"]})


def test_positions_of_the_constructor_stay() -> None:
    names = [field.name for field in dataclasses.fields(Attribution)]
    assert names[:12] == [
        "values", "stderr", "rows", "row_steps", "seconds", "settings", "seed", "mode", "lengths", "ids", "windows",
        "evaluated",
    ]  # fmt: skip
