"""What a file is that was named as a model or a result, from its bytes; nothing is unpickled."""

from __future__ import annotations

import io
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch

from rambit.datasets.dataset_files import TABLES
from rambit.store import open_file, read_file, read_header

#: How files of a kind begin.
_BEGIN = {
    b"\x89HDF\r\n\x1a\n": "Keras HDF5",
    b"\x93NUMPY": "an array of NumPy",
    b"PAR1": "a Parquet table",
    b"\x89PNG": "a picture",
    b"\x1f\x8b": "a compressed file (gzip)",
    b"BZh": "a compressed file (bzip2)",
    b"\xfd7zXZ": "a compressed file (xz)",
    b"x\x9c": "a pickle, compressed by joblib",
    b"x\x01": "a pickle, compressed by joblib",
    b"GGUF": "GGUF",
    b"\x7fELF": "a native library",
    b"tree\n": "a LightGBM model in text",
}
#: Names in archives of a kind; the first that fits.
_WITHIN = {
    "model.weights.h5": "a Keras model",
    "models/model.json": "a program of torch.export",
    "serialized_exported_program.json": "a program of torch.export",
    "constants.pkl": "TorchScript",
    "data.pkl": "a pickle of torch.save",
    ".npy": "arrays of NumPy",
}
#: How the name of a saved result's record begins.
RESULTS = ("rambit-attribution-", "rambit-pairs-", "rambit-rex-", "rambit-sufficiency-")
STATE_DICT = "a state_dict (weights by name)"


def file_kind(path: str | Path) -> str:
    """What a file holds, in words; "" where its bytes don't say. Raises OSError or ValueError if it can't be read."""
    path = Path(path)
    if path.is_dir():
        inside = {one.name for one in path.iterdir()}
        if "saved_model.pb" in inside:
            return "a folder with a TensorFlow SavedModel"
        return "a folder of Hugging Face" if "config.json" in inside else "a folder"
    data = read_file(path)
    if not data:
        return "an empty file"
    if data[:4] == b"PK\3\4":
        return _archive(data)
    if data[:1] == b"\x80" and data[1] in range(2, 6):
        return _pickled(data) or "a pickle"
    if data[4:8] == b"TFL3":
        return "a TensorFlow Lite model"
    if data[8:10] in (b'{"', b"{ ") and int.from_bytes(data[:8], "little") < len(data):
        return "a safetensors file"
    if data.lstrip()[:1] in (b"{", b"["):
        return "a JSON file"
    return next((kind for begin, kind in _BEGIN.items() if data.startswith(begin)), "")


def is_result(path: str | Path) -> bool:
    """Whether a safetensors file holds a saved result of ours. Raises OSError or ValueError if it can't be read."""
    with open_file(path) as file:
        entries = read_header(file, path).get("__metadata__") or {}
    return any(name.startswith(RESULTS) for name in entries)


def check_result(path: str | Path) -> None:
    """Raise ValueError for a file that can be no saved result: it says what it is, and which command makes one of it.

    A safetensors file passes unless it holds series or a model of ours. Raises OSError if it can't be read.
    """
    path = Path(path)
    if (path / "manifest.json").is_file():
        raise IsADirectoryError(f"{path} is a folder of many results: rambit export makes a table of them")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder: name one result file (.safetensors) in it")
    what, data, model = "", "DATA", "MODEL"
    if path.suffix.lower() in TABLES and path.is_file():
        what, data = "a table of data", str(path)
    elif path.suffix == ".safetensors":
        with open_file(path) as file:
            header = read_header(file, path)
        if '"rambit checkpoint' in str((header.get("__metadata__") or {}).get("rambit")):
            what, model = "a model", str(path)
        elif "X" in header and not is_result(path):
            what, data = "a file of series", str(path)
    else:
        what = file_kind(path)
        if what == "a safetensors file":
            return
        if not what:
            raise ValueError(f"{path} is not a saved result, which is a safetensors file")
        data = str(path) if "NumPy" in what else data
        model = str(path) if path.suffix in (".onnx", ".pt2") else model
    if what:
        made = f"rambit attribute {data} --model {model} --out scores.safetensors"
        raise ValueError(f"{path} is {what}, not a saved result; this makes one: {made}")


def _archive(data: bytes) -> str:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:
        return "a broken archive"
    kind = next((kind for end, kind in _WITHIN.items() if any(name.endswith(end) for name in names)), "an archive")
    return _pickled(data) or kind if kind == "a pickle of torch.save" else kind


def _pickled(data: bytes) -> str:
    """What of weights alone can be read without running code, or nothing."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of protocols of pickle
            held = torch.load(io.BytesIO(data), weights_only=True, map_location="cpu")
    except Exception:  # it holds more, or is broken
        return ""
    if isinstance(held, Mapping) and held and all(isinstance(one, torch.Tensor) for one in held.values()):
        return STATE_DICT
    if isinstance(held, Mapping):
        return f"a dictionary of {', '.join(list(map(str, held))[:8]) or 'nothing'}"
    return f"a pickled {type(held).__name__}"
