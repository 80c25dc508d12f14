"""The engine's allocator, and which errors say that memory ran out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rambit import memory

X = torch.zeros(2, 3)


@pytest.mark.parametrize("dtype", [None, torch.bool, torch.float64])
def test_buffers_have_the_shape_and_the_values_asked_for(dtype):
    for like in (X, X.double().T):
        kind = {"dtype": dtype or like.dtype, "device": like.device}
        found = memory.empty((4, 0, 5), like, dtype)
        assert (found.shape, found.dtype, found.device) == ((4, 0, 5), kind["dtype"], kind["device"])
        torch.testing.assert_close(memory.zeros((4, 5), like, dtype), torch.zeros(4, 5, **kind))
        torch.testing.assert_close(memory.full((4, 5), like, 7, dtype), torch.full((4, 5), 7, **kind))


@pytest.mark.parametrize(
    "too_much", [lambda: memory.empty((1 << 60,), X, torch.uint8), lambda: np.empty(1 << 60, np.uint8)]
)
def test_errors_of_real_allocators_are_known(too_much):
    with pytest.raises((RuntimeError, MemoryError)) as caught:
        too_much()
    assert memory.is_out_of_memory(caught.value)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("std::bad_alloc"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)"), False),
        (KeyError("out of memory"), False),
    ],
)
def test_which_errors_say_that_memory_ran_out(error, expected):
    assert memory.is_out_of_memory(error) is expected
