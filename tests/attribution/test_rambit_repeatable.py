"""The same seed gives the same bits, whatever the batch size, threads, chunks of series, or a kill in between."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from rambit import RaMbIT
from rambit.attribution import checkpoint
from rambit.game import engine, game
from rambit.game import runner as runner_module
from rambit.store import Store
from tests.models_for_tests import GRU, Exact

MODES = [(m, a) for m in ("prefix", "causal", "stateful") for a in ("cell", "mask", "end")]


def series(B=5, D=3, T=12, seed=0, dtype=torch.float32):
    return torch.randn(B, D, T, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize(("mode", "anchor"), MODES)
def test_a_batch_independent_model_gives_the_same_bits(mode, anchor):
    X, background = series(), series(B=20, seed=1)
    common = {
        "L": 6,
        "num_samples": 3,
        "window_size": 3,
        "anchor": anchor,
        "evaluation": mode,
        "background": background,
    }
    threads = torch.get_num_threads()
    results = []
    try:
        for batch_size, count in ((1, 1), (7, 2), (64, 1), ("auto", 2)):
            if (mode, batch_size) == ("prefix", 1):
                continue  # slow, and 7 does not divide the rows either
            torch.set_num_threads(count)
            results.append(RaMbIT(Exact(), batch_size=batch_size, **common).explain(X))
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        assert torch.equal(results[0].values, other.values)
        assert torch.equal(results[0].stderr, other.stderr)
        assert (results[0].rows, results[0].row_steps) == (other.rows, other.row_steps)
    assert float(results[0].values.abs().max()) > 0


@pytest.mark.parametrize("anchor", ["cell", "mask", "end"])
def test_a_gru_differs_by_rounding_alone(anchor):
    torch.manual_seed(0)
    model, X = GRU().eval(), series()
    common = {"L": 6, "num_samples": 3, "window_size": 3, "anchor": anchor, "background": series(B=20, seed=1)}
    reference = RaMbIT(model, batch_size="auto", **common).attribute(X)
    for batch_size in (7, 64):
        scores = RaMbIT(model, batch_size=batch_size, **common).attribute(X)
        torch.testing.assert_close(scores, reference, rtol=0, atol=1e-6)
    assert torch.equal(reference, RaMbIT(model, batch_size="auto", **common).attribute(X))


@pytest.mark.parametrize(("mode", "anchor"), MODES)
def test_memory_chunks_change_no_bit(mode, anchor, monkeypatch):
    X = series()
    common = {"L": 6, "num_samples": 2, "window_size": 3, "anchor": anchor, "evaluation": mode, "background": X}
    plenty = RaMbIT(Exact(), **common).explain(X)
    monkeypatch.setattr(engine, "DEFAULT_MEMORY", 4096)  # one series and one mask at a time
    scarce = RaMbIT(Exact(), **common, batch_size=16).explain(X)
    assert torch.equal(plenty.values, scarce.values)
    assert torch.equal(plenty.stderr, scarce.stderr)


def test_ids_key_the_draws():
    X = series()
    method = RaMbIT(Exact(), L=4, num_samples=2, background=X)
    assert torch.equal(method.attribute(X)[3:4], method.attribute(X[3:4], ids=[3]))
    assert not torch.equal(method.attribute(X)[3:4], method.attribute(X[3:4]))


@pytest.mark.parametrize(("mode", "anchor"), MODES)
@pytest.mark.parametrize(
    "options", [{}, {"share_masks": False}, {"share_draws": False}, {"counterfactuals": "interpolate"}]
)
def test_cost_is_what_is_evaluated(mode, anchor, options):
    X = series(B=2, T=7)
    X[0, 0] = 0.0  # replaced by itself: nothing to ask
    options = {"counterfactuals": "gaussian", **options}
    if options == {"counterfactuals": "gaussian"}:
        options = {"counterfactuals": "zero"}
    method = RaMbIT(Exact(), L=3, num_samples=1, window_size=2, anchor=anchor, evaluation=mode, **options)
    cost, result = method.cost(X), method.explain(X)
    assert (cost.rows, cost.row_steps, cost.mode) == (result.rows, result.row_steps, mode)
    assert method.cost(X, lengths=[7, 4]).rows == method.explain(X, lengths=[7, 4]).rows


def test_known_answers_are_not_evaluated():
    X = series(B=2)
    X[:, 1] = 0.0
    method = RaMbIT(Exact(), L=3, num_samples=1, counterfactuals="zero", anchor="cell")
    fewer, all_rows = method.cost(X).rows, method.cost(X + 1.0).rows
    assert fewer < 0.75 * all_rows
    assert float(method.attribute(X)[:, 1].abs().max()) == 0.0


class OutOfMemoryAbove:
    """Fails as the CPU allocator does for more rows than fit."""

    def __init__(self, limit):
        self.limit, self.failures = limit, 0

    def __call__(self, x):
        if len(x) > self.limit:
            self.failures += 1
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory")
        return Exact()(x)


def test_out_of_memory_halves_the_chunk_and_goes_on():
    X = series(B=2)
    common = {"L": 3, "num_samples": 1, "window_size": 2, "background": X}
    model = OutOfMemoryAbove(5)
    expected = RaMbIT(OutOfMemoryAbove(10**9), **common).attribute(X)
    assert torch.equal(RaMbIT(model, **common).attribute(X), expected)
    assert model.failures > 0
    with pytest.raises(RuntimeError, match="allocate"):
        RaMbIT(OutOfMemoryAbove(0), **common, anchor="end").attribute(X)


def test_other_errors_of_the_model_pass_through_untouched():
    def broken(x):
        if len(x) > 4:
            raise KeyError("mine")
        return Exact()(x)

    with pytest.raises(KeyError, match="mine"):
        RaMbIT(broken, num_samples=1, L=2).attribute(series(B=2))


def test_global_random_state_is_neither_read_nor_written():
    X = series(B=2)
    method = RaMbIT(Exact(), L=3, num_samples=2, background=X)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = method.attribute(X)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    assert torch.equal(first, method.attribute(X))


def test_tolerance_adds_masks_until_it_holds():
    X = series(B=2)
    options = {"num_samples": 2, "background": X, "share_draws": False}
    method = RaMbIT(Exact(), L=8, **options)
    loose, tight = method.explain(X, tolerance=0.5), method.explain(X, tolerance=0.05)
    assert tight.rows > loose.rows
    assert float(tight.stderr.max() / tight.values.abs().max()) <= 0.05
    limited = method.explain(X, tolerance=1e-9, max_rows=3 * loose.rows)
    assert limited.rows < 6 * loose.rows
    # Rounds continue the stream: two rounds of 8 are one of 16.
    twice = RaMbIT(Exact(), L=16, **options).attribute(X)
    rounds = method.explain(X, tolerance=1e-9, max_rows=loose.rows + 1).values
    torch.testing.assert_close(twice, rounds, rtol=1e-5, atol=1e-7)


def test_masks_are_not_added_in_vain():
    X = series(B=2)
    method = RaMbIT(Exact(), L=8, num_samples=2, background=X)
    with pytest.warns(UserWarning, match="tolerance=0.01 is out of reach with num_samples=2: the draws"):
        stopped = method.explain(X, tolerance=0.01)
    assert float(stopped.stderr.max() / stopped.values.abs().max()) > 0.01
    with pytest.raises(ValueError, match="tolerance needs num_samples >= 2"):
        RaMbIT(Exact(), L=8, num_samples=1, background=X).explain(X, tolerance=0.1)
    # Values that are given, or of which there is one, are no estimate.
    assert float(RaMbIT(Exact(), L=64, num_samples=1).explain(X, tolerance=0.2).stderr.max()) > 0


SCRIPT = """
import sys, torch
from rambit import RaMbIT
from rambit.attribution import checkpoint
from tests.attribution.test_rambit_repeatable import series
from tests.models_for_tests import GRU
checkpoint.SAVE_EVERY = 0.0
torch.manual_seed(0)
model = GRU(H=16).eval()
X = series(B=4, T=24)
method = RaMbIT(model, L=60, num_samples=2, anchor=sys.argv[2], background=X, max_memory=1 << 20, batch_size=64)
torch.save(method.explain(X, checkpoint=sys.argv[1]).values, sys.argv[3])
"""


@pytest.mark.slow
@pytest.mark.parametrize("anchor", ["cell", "mask"])
def test_kill_and_resume_give_the_same_bits(anchor, tmp_path):
    def start(folder, out):
        env = {**os.environ, "PYTHONPATH": os.getcwd(), "OMP_NUM_THREADS": "1"}
        return subprocess.Popen([sys.executable, "-c", SCRIPT, str(folder), anchor, str(out)], env=env)

    assert start(tmp_path / "whole", tmp_path / "whole.pt").wait() == 0
    kills = 0
    for _ in range(20):
        process = start(tmp_path / "killed", tmp_path / "killed.pt")
        manifest = tmp_path / "killed" / "manifest.json"
        before = manifest.read_bytes() if manifest.exists() else b""
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline and kills < 3:
            if manifest.exists() and manifest.read_bytes() not in (before, b"") and b"length-" in manifest.read_bytes():
                time.sleep(0.05)
                process.send_signal(signal.SIGKILL)
                kills += 1
                break
            time.sleep(0.005)
        if process.wait() == 0:
            break
    assert kills >= 1
    assert torch.equal(torch.load(tmp_path / "whole.pt"), torch.load(tmp_path / "killed.pt"))


def test_an_interrupted_run_goes_on_from_its_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "SAVE_EVERY", 0.0)
    X = series(B=4)
    common = {"L": 12, "num_samples": 2, "background": X, "batch_size": 8, "model_id": "exact", "max_memory": 1 << 20}
    monkeypatch.setattr(game.Game, "_group_size", lambda *_: 2)
    expected = RaMbIT(Exact(), **common).explain(X)
    calls = 0
    original = runner_module.Runner.build

    def interrupted(*args):
        nonlocal calls
        calls += 1
        if calls == limit:
            raise KeyboardInterrupt
        return original(*args)

    monkeypatch.setattr(runner_module.Runner, "build", interrupted)
    for limit in (20, 60, 200):  # noqa: B007  read by the closure
        calls = 0
        with pytest.raises(KeyboardInterrupt):
            RaMbIT(Exact(), **common).explain(X, checkpoint=tmp_path / "c")
    monkeypatch.setattr(runner_module.Runner, "build", original)
    resumed = RaMbIT(Exact(), **common).explain(X, checkpoint=tmp_path / "c")
    assert torch.equal(resumed.values, expected.values)
    assert torch.equal(resumed.stderr, expected.stderr)
    again = RaMbIT(Exact(), **common).explain(X, checkpoint=tmp_path / "c")
    assert torch.equal(again.values, expected.values)
    assert again.rows < expected.rows / 10


@pytest.mark.parametrize("goal", [{"tolerance": "top:9", "max_rows": 30_000}, {"tolerance": 0.1}])
def test_a_finished_run_is_finished(goal, tmp_path, monkeypatch):
    X = series(B=3)
    options = {"L": 4, "num_samples": 2, "background": X, "share_draws": False, "model_id": "exact"}
    lengths = [X.shape[2], X.shape[2] - 3, X.shape[2]]
    expected = RaMbIT(Exact(), **options).explain(X, lengths=lengths, **goal)
    assert expected.rows > 20_000
    first = RaMbIT(Exact(), **options).explain(X, lengths=lengths, checkpoint=tmp_path / "a", **goal)
    again = RaMbIT(Exact(), **options).explain(X, lengths=lengths, checkpoint=tmp_path / "a", **goal)
    for found in (first, again):
        assert torch.equal(found.values, expected.values)
        assert torch.equal(found.stderr, expected.stderr)
    assert again.rows < expected.rows / 10
    # Stopped in any round, it ends where the other ended.
    monkeypatch.setattr(checkpoint, "SAVE_EVERY", 0.0)
    put, writes = Store.put, 0

    def stopped(*args):
        nonlocal writes
        put(*args)
        writes += 1
        if writes % 7 == 0:
            raise KeyboardInterrupt

    monkeypatch.setattr(Store, "put", stopped)
    for _ in range(100):
        try:
            found = RaMbIT(Exact(), **options).explain(X, lengths=lengths, checkpoint=tmp_path / "b", **goal)
            break
        except KeyboardInterrupt:
            continue
    assert writes > 7
    assert torch.equal(found.values, expected.values)
    assert torch.equal(found.stderr, expected.stderr)


def test_a_checkpoint_is_written_now_and_then(tmp_path, monkeypatch):
    put, writes = Store.put, 0

    def counted(*args):
        nonlocal writes
        writes += 1
        put(*args)

    monkeypatch.setattr(Store, "put", counted)
    monkeypatch.setattr(checkpoint, "SAVE_EVERY", 1e9)
    monkeypatch.setattr(game.Game, "_group_size", lambda *_: 1)
    RaMbIT(Exact(), L=30, num_samples=1, model_id="exact").attribute(series(B=2), checkpoint=tmp_path / "a")
    assert writes == 1


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    X = series(B=2)
    common = {"L": 3, "num_samples": 1, "background": X}

    def run(model, X=X, **changed):
        return RaMbIT(model, **{**common, **changed}).explain(X, checkpoint=tmp_path / "c")

    torch.manual_seed(0)
    model = GRU().eval()
    run(model)
    with pytest.raises(ValueError, match="window_size"):
        run(model, window_size=2)
    with pytest.raises(ValueError, match="seed"):
        run(model, seed=1)
    with pytest.raises(ValueError, match="data"):
        run(model, X=X + 1)
    with pytest.raises(ValueError, match="model"):
        run(GRU().eval())
    with pytest.raises(ValueError, match="model_id"):
        run(Exact())
    manifest = tmp_path / "c" / "manifest.json"
    manifest.write_bytes(manifest.read_bytes()[:20])
    with pytest.raises(ValueError, match=r"manifest\.json"):
        run(model)
