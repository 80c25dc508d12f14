"""What a file is that was named as a model, from its bytes; nothing is unpickled."""

from __future__ import annotations

import io
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch

from rambit.store import read_file

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
