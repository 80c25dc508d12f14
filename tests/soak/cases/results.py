"""What is kept: results, the store, files of modules and data, and runs over many series."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

from rambit import Attribution, RaMbIT, store
from rambit.attribution import FO, WinIT
from rambit.compat import (
    AFOExplainer,
    BiWinITExplainer,
    FITExplainer,
    FOExplainer,
    JIMEx,
    Masker,
    Masker1,
    MockExplainer,
    OGWinITExplainer,
    WinITExplainer,
    aggregate_scores,
)
from rambit.distributed import Attributions, DataFile, attribute_many
from rambit.labels import Labels
from rambit.results import Cell
from rambit.store import Lock, Store, StoreError, is_lock, make_folder, resume_key
from tests.models_for_tests import Exact
from tests.naive import attribution as naive_attribution
from tests.naive import masker as naive_masker
from tests.naive import masks as naive_masks
from tests.naive import ops as naive_ops
from tests.naive import rambit as naive
from tests.naive import winit as naive_winit
from tests.soak.engine import Draw, case
from tests.soak.models import Protocol, series_model
from tests.soak.series import turned
from tests.test_results import naive_cells

DTYPES = (torch.float32, torch.float64, torch.bfloat16)


def attribution(draw: Draw, values: Tensor, layout: str, lengths: Any) -> Attribution:
    B = len(values)
    given = turned(values, layout)
    more = draw.some(
        0.5,
        stderr=(given.abs(),),
        freedom=(given.abs() + 1,),
        ids=(list(range(5, 5 + B)), torch.arange(B)),
        windows=(draw.normal(*given.shape, 2),),
    )
    draw.notes.clear()
    settings = {"layout": layout, "L": draw.whole(1, 9), "nested": {"a": [1, None, "x"]}}
    return Attribution(
        given, more.get("stderr"), draw.whole(0, 10**9), draw.whole(0, 10**12), draw.number(0, 9), settings,
        draw.whole(0, 2**63 - 1), draw.of("", "stateful"), lengths, more.get("ids"), more.get("windows"),
        freedom=more.get("freedom"),
    )  # fmt: skip


@case(weight=3)
def results(draw: Draw) -> None:
    """Save and load, the best cells, and comparisons."""
    B, D, T = draw.whole(1, 3), draw.whole(1, 3), draw.whole(1, 5)
    layout, lengths = draw.of("BDT", "BTD"), draw.of(None, draw.integers(0, T, B))
    dtype, ties = draw.of(*DTYPES), draw.chance()

    def values() -> Tensor:
        drawn = draw.normal(B, D, T)
        return (drawn.round() if ties else drawn).to(dtype)

    a, b = (attribution(draw, values(), layout, lengths) for _ in range(2))
    k, series = draw.whole(1, 30), draw.of(None, draw.whole(0, B - 1))
    draw.note(shape=(B, D, T), layout=layout, lengths=lengths, dtype=dtype, ties=ties, k=k, series=series)
    path = draw.folder / draw.of("a.safetensors", "ä b")
    draw.call(a.save, path)
    again = draw.call(Attribution.load, path)
    for name in ("values", "stderr", "freedom", "lengths", "ids", "windows"):
        mine, theirs = getattr(a, name), getattr(again, name)
        draw.true((mine is None) == (theirs is None), f"{name} is there or not")
        if mine is not None:
            draw.equal(theirs, torch.as_tensor(mine), what=name)
    for name in ("rows", "row_steps", "seconds", "settings", "seed", "mode"):
        draw.equal(getattr(again, name), getattr(a, name), what=name)
    draw.close(draw.call(a.to_numpy), a.values)
    cells = [cell for cell in naive_cells(a) if series is None or cell.series == series]
    draw.equal(draw.call(a.top, k, series), cells[:k], what="the best cells")

    labels = Labels(features=tuple(f"feature {d}" for d in range(D)), times=np.arange(T) * 7)
    which = draw.integers(0, D - 1, draw.whole(1, D)).tolist()
    first, last = sorted(draw.integers(0, T - 1, 2).tolist())
    part = draw.call(
        replace(a, labels=labels).sel, feature=[f"feature {d}" for d in which], time=slice(7 * first, 7 * last)
    )
    kept = turned(turned(a.values, layout)[:, which, first : last + 1], layout)
    draw.equal(part.values, kept, what="the part by name and time")
    for cell in draw.call(part.top, 2):
        draw.equal(cell.feature_name, f"feature {which[cell.feature]}", what="a cell's name")
        draw.true(cell == Cell(*cell), "a cell is its four numbers")
    draw.call(a.to_csv, draw.folder / "a.csv")
    ends = [T] * B if lengths is None else lengths.tolist()
    rows = (draw.folder / "a.csv").read_text().splitlines()
    draw.equal(len(rows), 1 + sum(D * end for end in ends), what="the rows of the table")
    draw.call(store.save_text, draw.folder / "b.csv", b"a,b", ".csv")

    found = draw.call(a.compare, b, k=k)
    ours, theirs = ({c[:3]: c.score for c in naive_cells(one)} for one in (a, b))
    if not ours:
        draw.true(all(math.isnan(value) for value in found.values()), "there is nothing to compare")
        return
    draw.close(found["max_abs_diff"], max(abs(ours[c] - theirs[c]) for c in ours))
    x, y = ([side[c] for c in sorted(ours)] for side in (ours, theirs))
    rank = math.nan if len(set(x)) == 1 or len(set(y)) == 1 else spearmanr(x, y).statistic
    draw.close(found["spearman"], rank, 1e-9, 1e-9, what="the rank correlation")
    shares = []
    for i in {c[0] for c in ours}:
        mine, other = ({c[:3] for c in [d for d in naive_cells(one) if d.series == i][:k]} for one in (a, b))
        shares.append(len(mine & other) / len(mine))
    draw.close(found["topk_overlap"], sum(shares) / len(shares), what="the overlap")


@case(weight=2)
def stores(draw: Draw) -> None:
    """A store is a dict that outlives its writer."""
    folder, key, model = draw.folder / "store", resume_key(seed=draw.seed), {}
    held = Store(folder, key=key, meta={"L": 3})
    for _ in range(draw.whole(1, 12)):
        what, name = draw.of("put", "put", "put", "remove", "reopen", "read", "other"), draw.of("a", "b/c.png", "ü")
        if what == "put":
            shape = [draw.whole(0, 3) for _ in range(draw.whole(0, 3))]
            tensors = {n: draw.placed(draw.normal(*shape).to(draw.of(*DTYPES))) for n in ("x", "y")[: draw.whole(0, 2)]}
            meta = draw.of({}, {"n": draw.whole(0, 9), "list": [1.5, None]})
            draw.call(held.put, name, tensors, meta)
            model[name] = tensors, meta
        elif what == "remove" and name in model:
            draw.call(held.remove, name)
            del model[name]
        elif what == "reopen":
            held.close()
            held = draw.call(Store, folder, key=key)
        elif what == "other":
            try:
                Store(folder, key="another" if draw.chance() else key).close()
                draw.true(False, "a second writer is refused")
            except StoreError:
                pass
        with draw.call(Store, folder, read_only=True) as reader:
            draw.equal(sorted(reader.names()), sorted(model), what="the names")
            for n, (tensors, meta) in model.items():
                found, told = draw.call(reader.get, n)
                draw.equal(told, meta, what=f"the meta of {n}")
                draw.equal(sorted(found), sorted(tensors))
                for part, value in tensors.items():
                    draw.equal(found[part], value.contiguous(), what=f"{part} of {n}")
        draw.equal(name in held, name in model)
    held.close()


@case()
def store_files(draw: Draw) -> None:
    """Bytes, records, results and modules as single files; keys of what they belong to."""
    path: Path = draw.folder / "file.safetensors"
    data = bytes(draw.rng.integers(0, 256, draw.whole(0, 50), dtype=np.uint8))
    draw.call(store.atomic_write, path, data)
    draw.equal(draw.call(store.read_file, path), data)
    with draw.call(store.open_file, path) as file:
        draw.equal(file.read(), data)
    tensors = {"a": draw.normal(2, draw.whole(0, 3)), "b": draw.bools(3)}
    told = {"note": "ü", "x": json.dumps({"n": 3})}
    encoded = draw.call(store.encode, tensors, told)
    for found, meta in (draw.call(store.decode, encoded, "here"), _written(draw, path, encoded)):
        draw.equal(meta, told)
        for name, value in tensors.items():
            draw.equal(found[name], value)
    with open(path, "rb") as file:
        header = draw.call(store.read_header, file, path)
    draw.equal(header["b"]["shape"], [3])
    record = draw.call(store.load_record, path, "x", "a record", lambda weights, document: document)
    draw.equal(record, {"n": 3})
    draw.equal(draw.call(store.json_dict, {"a": (1, 2)}, "meta"), {"a": [1, 2]})

    torch.manual_seed(draw.seed)
    module = nn.Linear(draw.whole(1, 3), draw.whole(1, 3)).to(draw.of(torch.float32, torch.float64))
    draw.call(store.save_module, path, "form 1", module, {"size": [1, 2]})
    make = lambda: nn.Linear(module.in_features, module.out_features)  # noqa: E731
    again, document = draw.call(
        store.load_module, path, "form 1", "a layer", lambda weights, document: (store.fill(make, weights), document)
    )
    draw.equal(document["size"], [1, 2])
    for a, b in zip(module.parameters(), again.parameters(), strict=True):
        draw.equal(b.data, a.data, what="a weight")
    result = draw.folder / "result"
    draw.call(store.save_result, result, "form 2", tensors, {"n": 4})
    found = draw.call(store.load_result, result, "form 2", "result", lambda tensors, record: (tensors, record))
    draw.equal(found[1], {"n": 4})
    draw.equal(found[0]["a"], tensors["a"])

    made = draw.folder / "some" / "folders"
    draw.call(make_folder, made)
    lock = draw.call(Lock, made / "lock", "this folder")
    draw.true(draw.call(is_lock, made / "lock") and not is_lock(path), "a lock is one, and a file is none")
    try:
        Lock(made / "lock", "this folder")
        draw.true(False, "a second lock is refused")
    except StoreError:
        pass
    lock.release()
    draw.true(not (made / "lock").exists(), "a lock that is given back is gone")

    value = {"a": [1, 2.0, None, True], "t": tensors["a"], "s": "x"}
    same = {"s": "x", "t": draw.placed(tensors["a"]), "a": (1, 2.0, None, True)}
    draw.equal(draw.call(resume_key, part=value), draw.call(resume_key, part=same), what="the key")
    other = draw.of({**value, "a": [1, 2, None, True]}, {**value, "s": "y"}, {**value, "t": tensors["a"].float()})
    draw.true(resume_key(part=value) != resume_key(part=other), "another value has another key")


def _written(draw: Draw, path: Path, encoded: bytes) -> Any:
    path.write_bytes(encoded)
    return draw.call(store.load_tensors, path)


# -- runs that go on ---------------------------------------------------------------------------------------------------


class Dying(Exact):
    """The model whose arithmetic does not depend on the batch; it fails at one of its calls."""

    def __init__(self, D: int, fail_at: int | None) -> None:
        super().__init__(D=D)
        self.calls, self.fail_at = 0, fail_at

    def advance(self, x: Tensor, state: Any) -> Any:
        self.calls += 1
        if self.calls == self.fail_at:
            raise KeyboardInterrupt
        return super().advance(x, state)


@case()
def checkpoints(draw: Draw) -> None:
    """A run that was killed goes on and gives the same bits."""
    D, T, B = draw.whole(1, 3), draw.whole(2, 7), draw.whole(1, 4)
    X, folder = draw.normal(B, D, T), str(draw.folder / "run")
    options = draw.options(
        anchor=("cell", "mask", "end"), L=(1, 4), num_samples=(1, 2), share_draws=(True, False), batch_size=(2, "auto"),
        counterfactuals=("uniform", "gaussian"),
    )  # fmt: skip
    lengths = draw.of(None, draw.integers(1, T, B))

    def method(fail_at: int | None) -> RaMbIT:
        return RaMbIT(Dying(D, fail_at), output="regression", model_id="exact", seed=draw.seed, **options)

    expected = method(None).attribute(X, lengths=lengths)
    for _ in range(draw.whole(1, 3)):
        with suppress(KeyboardInterrupt):
            method(draw.whole(1, 30)).attribute(X, lengths=lengths, checkpoint=folder)
    draw.equal(draw.call(method(None).attribute, X, lengths=lengths, checkpoint=folder), expected, what="the scores")


@case()
def many_series(draw: Draw) -> None:
    """In shards, from batches or a file, killed or not, as in one call."""
    D, T, N = draw.whole(1, 3), draw.whole(2, 6), draw.whole(1, 12)
    X, size, seed = draw.normal(N, D, T, dtype=torch.float32), draw.whole(1, 5), draw.whole(0, 99)
    kind = draw.of("rambit", "winit", "fo")
    draw.note(shape=(N, D, T), shard_size=size, kind=kind)

    def method(fail_at: int | None = None) -> Any:
        common = {
            "output": "regression",
            "model_id": "exact",
            "seed": seed,
            "num_samples": 2,
            "counterfactuals": "uniform",
        }
        kinds = {"rambit": lambda m: RaMbIT(m, L=2, **common), "winit": lambda m: WinIT(m, window_size=2, **common),
                 "fo": lambda m: FO(m, **common)}  # fmt: skip
        return kinds[kind](Dying(D, fail_at))

    expected = method().explain(X)
    source: Any = list(X.split(draw.whole(1, 5)))
    if draw.chance(0.3):
        path = draw.folder / draw.of("x.npy", "x.npz")
        np.save(path, X.numpy()) if path.suffix == ".npy" else np.savez(path, X=X.numpy())
        source = draw.of(path, DataFile(path))
    folder = draw.folder / "many"
    for _ in range(draw.whole(0, 2)):
        with suppress(KeyboardInterrupt):
            attribute_many(method(draw.whole(1, 20)), source, folder, shard_size=size)
    found: Attributions = draw.call(attribute_many, method(), source, folder, shard_size=size)
    draw.equal(torch.from_numpy(draw.call(found.to_numpy)), expected.values, what="the scores")
    i = draw.whole(0, N - 1)
    draw.equal(draw.call(found.__getitem__, i).values, expected.values[i : i + 1], what="a series")
    draw.equal(len(draw.call(Attributions, folder)), N)


# -- drop-in explainers ------------------------------------------------------------------------------------------------


@case(weight=2)
def drop_ins(draw: Draw) -> None:
    """JIMEx, WinIT and BiWinIT by their published names, against the definitions."""
    D, T, B, S = draw.whole(1, 3), draw.whole(1, 7), draw.whole(1, 2), draw.whole(1, 2)
    kind = draw.of(JIMEx, WinITExplainer, OGWinITExplainer, BiWinITExplainer)
    window, metric = draw.whole(1, 4), draw.of("pd", "kl", "js")
    evaluated = series_model(draw, D, T, torch.float64, ("gru", "lstm"))
    X, loader, seed = draw.normal(B, D, T), draw.of(None, draw.normal(5, D, T)), draw.whole(0, 99)
    zero = loader is None or draw.chance(0.3)
    draw.note(name=kind.__name__, shape=(B, D, T), S=S, window=window, distance=metric, loader=loader is not None)
    given = {"num_samples": S, "window_size": window, "metric": metric, "train_loader": loader, "random_state": seed}
    fixed = torch.zeros(1, B, D, T).double()
    if not zero:
        fixed = naive_ops.draw("MARGINAL", S, list(range(B)), D, T, X.dtype, background=loader, seed=seed)
    expected: Any
    if kind is JIMEx:
        L, wt, wd = draw.whole(1, 3), (1, draw.whole(1, 4)), (1, draw.whole(1, 3))
        explainer: Any = JIMEx(D, num_masks=L, wt_bounds=wt, wd_bounds=wd, **given)
        masks, _ = naive_masks.family("block", L, D, T, wt, wd, seed=seed)
        expected, _ = naive.rambit(evaluated.f, X, masks, list(fixed), anchor="mask", window=window, metric=metric)
    elif kind is BiWinITExplainer:
        height, shape = draw.whole(1, 3), draw.of("box", "upper_triangular")
        explainer = BiWinITExplainer("cpu", D, "toy", draw.folder, height=height, mask_strategy=shape, **given)
        whole, kept = naive_winit.blocks(evaluated.f, X, fixed, window, height, shape, metric)
        expected = np.stack([(whole - kept)[..., ::-1], whole, kept, whole - kept])
    else:
        explainer = kind("cpu", D, "toy", draw.folder, **given)
        expected = naive_winit.winit(evaluated.f, X, fixed, window, metric)
    explainer.set_model(Protocol(evaluated.model))
    found = draw.call(explainer.attribute, draw.of(X, X.numpy()), all_zero_cf=zero)
    draw.close(np.stack(found) if isinstance(found, tuple) else found, expected)
    draw.true(str(window) in explainer.get_name(), "the name has the window")


@case()
def simple_drop_ins(draw: Draw) -> None:
    """FO, AFO, FIT and Mock by their published names, against the definitions."""
    D, T, B, S = draw.whole(1, 3), draw.whole(2, 6), draw.whole(1, 2), draw.whole(1, 3)
    kind = draw.of(FOExplainer, AFOExplainer, FITExplainer, MockExplainer)
    evaluated = series_model(draw, D, T, torch.float64, ("gru", "lstm"))
    X, loader, seed = draw.normal(B, D, T), draw.normal(5, D, T), draw.whole(0, 99)
    draw.note(name=kind.__name__, shape=(B, D, T), S=S)
    given, tolerance = {"num_samples": S, "random_state": seed}, 1e-9
    explainer: Any
    if kind is MockExplainer:
        explainer, expected = MockExplainer(), np.zeros((B, D, T))
    elif kind is FITExplainer:
        explainer, tolerance = FITExplainer("cpu", D, "toy", draw.folder, **given), 1e-4  # draws are float32
        explainer.train_generators(loader, num_epochs=1)
        ids = torch.arange(B)
        expected = naive_attribution.fit(
            evaluated.f, X, lambda d: explainer.generator.draw_given(X, d, ids, S, seed), S
        )
    else:
        source: dict[str, Any] = {"background": loader} if kind is AFOExplainer else {"low": -3.0, "high": 3.0}
        draws = naive_ops.draw(
            "MARGINAL" if kind is AFOExplainer else "UNIFORM", S, list(range(B)), D, T, X.dtype, seed=seed, **source
        )
        explainer = AFOExplainer("cpu", loader, **given) if kind is AFOExplainer else FOExplainer("cpu", **given)
        classes = evaluated.f(X).shape[1]
        expected = naive_attribution.fo(evaluated.f, X, draws, anchor="cell", metric="pd") / classes
        expected[:, :, 0] = 0
    explainer.set_model(Protocol(evaluated.model))
    draw.close(draw.call(explainer.attribute, draw.of(X, X.numpy())), expected, tolerance, tolerance)


@case()
def removals(draw: Draw) -> None:
    """Masker on scores without ties, against plain loops; scores by window, against those by cell."""
    N, D, T, W = draw.whole(1, 3), draw.whole(1, 3), draw.whole(12, 15), draw.whole(1, 4)
    method, top = draw.of("std", "end", "end_fit"), draw.of(draw.whole(0, 6), draw.number(0, 1))
    balanced = isinstance(top, int) and method != "end_fit" and draw.chance()
    x, scores, how = draw.normal(N, D, T).numpy(), draw.normal(N, D, T, W).numpy(), draw.of("mean", "max", "absmax")
    draw.note(shape=scores.shape, method=method, top=top, balanced=balanced, how=how)
    made = Masker(method, top, balanced, 0, False, how)
    found = draw.call(made.mask, x, {0: scores})
    single = aggregate_scores(scores, how)
    draw.close(single, naive_winit.aggregate(scores, how))
    expected, masked, starts = naive_masker.masker(x, single, method, top, balanced)
    draw.close(found[0], expected, 0, 0)
    draw.equal(made.all_masked_count[0].tolist(), masked.sum(axis=0).tolist())
    draw.equal(made.start_masked_count[0].tolist(), starts.sum(axis=0).tolist())
    k, direction, mode, value = (
        draw.whole(1, D * T),
        *map(draw.of, ("top", "remove", "zero"), ("bottom", "keep", "mean")),
    )
    cells = draw.call(Masker1("cells", False, 0, False, how, value).mask, x, {0: scores}, k, direction, mode)
    draw.close(cells[0], naive_masker.cells(x, single, k, direction, mode, value)[0])
