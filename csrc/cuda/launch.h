// One grid-stride loop, and the check after each launch. The .cu files see raw pointers and a stream, never torch.
#pragma once

#include <cuda_runtime.h>

#include <stdexcept>
#include <string>

#include "../backend.h"

namespace rambit::cuda {

constexpr int kThreads = 256;

template <typename F>
__global__ void each_kernel(int64_t n, F f) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += step) f(i);
}

// Calls f(i) for i in 0 … n-1 on the stream.
template <typename F>
void each(int64_t n, void* stream, F f) {
  const int64_t blocks = (n + kThreads - 1) / kThreads;
  const int grid = static_cast<int>(blocks < 65535 * 16 ? blocks : 65535 * 16);
  each_kernel<<<grid, kThreads, 0, static_cast<cudaStream_t>(stream)>>>(n, f);
  const cudaError_t error = cudaGetLastError();
  if (error != cudaSuccess) throw std::runtime_error(std::string("rambit: CUDA launch: ") + cudaGetErrorString(error));
}

}  // namespace rambit::cuda
