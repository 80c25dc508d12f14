"""`rambit export`: every result and every number of it comes back from the table."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from rambit import Attribution
from rambit.labels import Labels
from rambit.rex import RexExplanation
from rambit.store import Store

parquet = pytest.importorskip("pyarrow.parquet")


def explanation(seed, grid=(3, 4)):
    map_ = torch.rand(grid, generator=torch.Generator().manual_seed(seed))
    stats = {"mutants": 10 + seed, "passing": 3, "depth": 2, "rows": 9}
    extra = {"necessary": map_ > 0.1} if seed == 1 else {}
    return RexExplanation(
        map_, {seed: map_}, map_ > 0.5, seed, 0.5, 0.25, stats, {"dist_args": [1, 2], "seed": 0}, seed, **extra
    )


def check(row, one):
    assert (row["target"], row["confidence"], row["seed"]) == (one.target, one.confidence, one.seed)
    assert row["stats.mutants"] == one.stats["mutants"]
    assert row["settings.dist_args"] == "[1, 2]"
    shape = row["responsibility_shape"]
    assert torch.equal(torch.tensor(row["responsibility"]).view(shape), one.responsibility)
    assert torch.equal(torch.tensor(row["mask"]).view(shape), one.mask)
    assert (row["necessary"] is None) == (one.necessary is None)


def read(path):
    return {row["name"]: row for row in parquet.read_table(path).to_pylist()}


def test_a_store(rambit, tmp_path):
    made = {f"{seed}.png": explanation(seed, (3, 4 + seed)) for seed in range(3)}
    with Store(tmp_path / "store", key="k") as store:
        for name, one in made.items():
            store.put(name, one.tensors(), one.record())
    done = rambit("export", tmp_path / "store", "--out", tmp_path / "a.parquet")
    assert done.code == 0, done.err
    rows = read(tmp_path / "a.parquet")
    assert list(rows) == list(made)
    for name, one in made.items():
        check(rows[name], one)


@pytest.mark.parametrize("whole", [True, False])
def test_result_files(rambit, tmp_path, whole):
    for seed in range(2):
        explanation(seed).save(tmp_path / f"r{seed}.safetensors")
    source = tmp_path if whole else tmp_path / "r1.safetensors"
    assert rambit("export", source, "--out", tmp_path / "a.parquet").code == 0
    rows = read(tmp_path / "a.parquet")
    assert list(rows) == (["r0", "r1"] if whole else ["r1"])
    check(rows["r1"], explanation(1))


def test_attributions_too(rambit, tmp_path):
    values = torch.randn(2, 3, 4).bfloat16()
    one = Attribution(values=values, stderr=None, rows=5, row_steps=6, seconds=0.5, settings={"L": 3}, seed=1)
    one.save(tmp_path / "scores.safetensors")
    assert rambit("export", tmp_path / "scores.safetensors", "--out", tmp_path / "a.parquet").code == 0
    row = read(tmp_path / "a.parquet")["scores"]
    assert row["settings.L"] == 3
    assert torch.equal(torch.tensor(row["values"]).view(row["values_shape"]), values.float())


def test_names_and_times(rambit, tmp_path):
    times = np.datetime64("2024-03-01", "ns") + np.arange(4) * np.timedelta64(1, "h")
    labels = {"features": ["hr", "bp", "t"], "times": times, "outputs": ["no", "yes"]}
    for name, given in (("a", times), ("b", times.astype("datetime64[h]"))):
        one = Attribution(torch.ones(2, 3, 4), None, 5, 6, 0.5, {}, 1, labels=Labels.of({**labels, "times": given}))
        one.save(tmp_path / f"{name}.safetensors")
        assert rambit("export", tmp_path / f"{name}.safetensors", "--out", tmp_path / f"{name}.parquet").code == 0
        row = read(tmp_path / f"{name}.parquet")[name]
        assert row["labels.features"] == '["hr", "bp", "t"]'
        assert [np.datetime64(moment) for moment in row["labels.times"]] == list(times)
        assert row["labels.times_shape"] == [4]


def test_scores_of_several_precisions_and_settings_in_one_table(rambit, tmp_path):
    made = {}
    for i, dtype in enumerate((torch.float32, torch.float64)):
        values = torch.randn(2, 3, 4 + i, dtype=dtype)
        stderr = values.abs() if i else None
        made[f"r{i}"] = Attribution(values, stderr, 5 + i, 6, 0.5, {"L": 3, f"only{i}": True}, 1)
        made[f"r{i}"].save(tmp_path / f"r{i}.safetensors")
    assert rambit("export", tmp_path, "--out", tmp_path / "a.parquet").code == 0
    rows = read(tmp_path / "a.parquet")
    assert list(rows) == ["r0", "r1"]
    for i, (name, one) in enumerate(made.items()):
        row = rows[name]
        assert row["rows"] == one.rows
        assert (row["settings.only0"], row["settings.only1"]) == ((True, None), (None, True))[i]
        assert torch.equal(torch.tensor(row["values"], dtype=one.values.dtype).view(row["values_shape"]), one.values)
        assert (row["stderr"] is None) == (one.stderr is None)


def test_the_store_of_an_attribution(rambit, made, tmp_path):
    run = ("attribute", made.data, "--model", made.model, "--out", tmp_path / "a.safetensors", "--L", 2)
    assert rambit(*run, "--checkpoint", tmp_path / "store").code == 0
    assert rambit("export", tmp_path / "store", "--out", tmp_path / "a.parquet").code == 0
    rows = read(tmp_path / "a.parquet")
    with Store(tmp_path / "store", read_only=True) as store:
        assert list(rows) == list(store.names())
        for name, row in rows.items():
            for key, tensor in store.get(name)[0].items():
                assert torch.equal(torch.tensor(row[key], dtype=tensor.dtype).view(row[f"{key}_shape"]), tensor)


def test_what_is_wrong(fails, tmp_path, monkeypatch):
    out = tmp_path / "a.parquet"
    explanation(0).save(tmp_path / "r.safetensors")
    assert "must end in .parquet" in fails("export", tmp_path / "r.safetensors", "--out", tmp_path / "a.csv")
    assert "none.safetensors: No such file" in fails("export", tmp_path / "none.safetensors", "--out", out)
    (tmp_path / "empty").mkdir()
    assert "holds no results" in fails("export", tmp_path / "empty", "--out", out)
    (tmp_path / "empty" / "x.safetensors").write_bytes(b"123")
    assert "x.safetensors is truncated" in fails("export", tmp_path / "empty", "--out", out)
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    assert "is not a result file" in fails("export", tmp_path / "foreign.safetensors", "--out", out)
    out.write_text("mine")
    assert "a.parquet exists; --force" in fails("export", tmp_path / "r.safetensors", "--out", out)
    assert out.read_text() == "mine"
    out.unlink()
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert "rambit[tables]" in fails("export", tmp_path / "r.safetensors", "--out", out)


def test_numbers_that_no_table_holds(fails, tmp_path):
    with Store(tmp_path / "store", key="k") as store:
        store.put("a", {}, {"count": 10**30})
    assert "don't fit one table" in fails("export", tmp_path / "store", "--out", tmp_path / "a.parquet")


def test_results_of_different_kinds_do_not_mix(fails, tmp_path):
    with Store(tmp_path / "store", key="k") as store:
        store.put("a", {}, {"target": 1})
        store.put("b", {}, {"target": "one"})
    assert "don't fit one table" in fails("export", tmp_path / "store", "--out", tmp_path / "a.parquet")
