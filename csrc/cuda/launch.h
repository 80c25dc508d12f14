// One grid-stride loop, and the check of each launch. The .cu files see raw pointers and a stream, never torch.
#pragma once

#include <cuda_runtime.h>

#include <stdexcept>
#include <string>

#include "../backend.h"

namespace rambit::cuda {

constexpr int kThreads = 256;
constexpr int64_t kMaxBlocks = int64_t{1} << 20;  // beyond, a thread takes several items

template <typename F>
__global__ void each_kernel(int64_t n, F f) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += step) f(i);
}

// Calls f(i) for i in 0 … n-1 on the stream, n > 0, in no order.
template <typename F>
void each(int64_t n, void* stream, F f) {
  const int64_t blocks = (n + kThreads - 1) / kThreads;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(blocks < kMaxBlocks ? blocks : kMaxBlocks));
  config.blockDim = dim3(kThreads);
  config.stream = static_cast<cudaStream_t>(stream);
  const cudaError_t error = cudaLaunchKernelEx(&config, each_kernel<F>, n, f);
  if (error != cudaSuccess) throw std::runtime_error(std::string("rambit: CUDA launch: ") + cudaGetErrorString(error));
}

}  // namespace rambit::cuda
