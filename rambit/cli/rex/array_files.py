"""Files of arrays as inputs: spectra, series, images and volumes."""

from __future__ import annotations

import gzip
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rambit.datasets.readers import READERS, check_holds, naming
from rambit.store import read_file

ARRAYS = (".npy", ".npz", ".safetensors")
VOLUMES = (".nii", ".nii.gz", ".mat")


def ending(path: Path) -> str:
    """What the name ends in, in small letters; .nii.gz is one ending."""
    name = path.name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else path.suffix.lower()


def read_arrays(path: Path, name: str | None) -> Tensor:
    """Inputs (N, …) of a file, without pickle. Raises ValueError naming the file, ImportError naming what reads it."""
    kind = ending(path)
    if kind in (".npy", ".nii", ".nii.gz") and name is not None:
        raise ValueError(f"{path}: a {kind} file holds one array, so --x does not apply")
    data = read_file(path)
    with naming(path):
        if kind in VOLUMES:
            array = _volume(_read_mat(data, name) if kind == ".mat" else _read_nifti(data, kind))
        else:
            fields = READERS[kind](data)
            check_holds(fields, name or "X")
            array = _spectra(torch.as_tensor(fields[name or "X"]))
    if array.ndim not in (3, 4, 5) or not array.numel():
        raise ValueError(
            f"{path} must hold spectra (T,) or (N, T), series (N, D, T), images (N, C, H, W) or volumes "
            f"(N, C, Z, H, W), got the shape {tuple(array.shape)}"
        )
    if array.is_complex() or array.dtype == torch.bool:
        raise ValueError(f"{path} must hold real numbers, got {array.dtype}")
    array = array if array.dtype in (torch.float32, torch.float64) else array.float()
    if not bool(torch.isfinite(array).all()):
        raise ValueError(f"{path} holds NaN or infinite values")
    return array


def _spectra(array: Tensor) -> Tensor:
    """A spectrum (T,), or several (N, T), as (N, 1, T); all else stays."""
    return array.view(-1, 1, array.shape[-1]) if array.ndim in (1, 2) and array.numel() else array


def _volume(array: Tensor) -> Tensor:
    """What a file of volumes holds, as it lies: (X, Y, Z), or with channels last, as (1, C, X, Y, Z); spectra too."""
    if array.ndim == 2 and 1 in array.shape:
        array = array.flatten()
    if array.ndim == 3:
        array = array[..., None]
    return array.movedim(-1, 0)[None] if array.ndim == 4 else _spectra(array)


def _read_nifti(data: bytes, kind: str) -> Tensor:
    """The values, scaled as the header says; in the file's own axes."""
    try:
        import nibabel
    except ImportError as error:
        raise ImportError("NIfTI files need nibabel: pip install 'rambit[volumes]'") from error
    plain = gzip.decompress(data) if kind == ".nii.gz" else data
    return torch.from_numpy(nibabel.Nifti1Image.from_bytes(plain).get_fdata(dtype=np.float32).copy())


def _read_mat(data: bytes, name: str | None) -> Tensor:
    """The array of that name, or the only one of a file of MATLAB's up to version 7."""
    from scipy import io as matlab

    try:
        fields: Mapping[str, Any] = matlab.loadmat(io.BytesIO(data))
    except NotImplementedError as error:
        raise ValueError("is of MATLAB 7.3: save it with -v7, or as .npy") from error
    held = {key: value for key, value in fields.items() if isinstance(value, np.ndarray) and value.dtype.kind in "biuf"}
    if name is None and len(held) != 1:
        raise ValueError(f"--x must name one of its arrays of numbers: {', '.join(held) or 'there are none'}")
    check_holds(held, name or next(iter(held)))
    return torch.from_numpy(np.ascontiguousarray(held[name or next(iter(held))]))
