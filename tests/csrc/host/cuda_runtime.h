// As much of the CUDA runtime as csrc/cuda/ uses, on the host: the .cu files compile as plain C++ and run without a GPU.
// A launch calls its kernel once a thread, in an order that the test chooses: what depends on the order shows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <numeric>

#define __global__
#define __device__
#define __host__

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
inline dim3 gridDim, blockDim, blockIdx, threadIdx;

using cudaStream_t = void*;
enum cudaError_t { cudaSuccess = 0, cudaErrorInvalidConfiguration = 9 };
inline const char* cudaGetErrorString(cudaError_t) { return "invalid configuration argument"; }

struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  size_t dynamicSmemBytes;
  cudaStream_t stream;
};

namespace host {

enum class Order { kForward, kBackward, kScattered };
inline Order order = Order::kForward;
inline bool only_last = false;  // the last items alone: tensors too large to be walked

inline uint64_t thread_at(uint64_t i, uint64_t n) {
  if (order == Order::kForward) return i;
  if (order == Order::kBackward) return n - 1 - i;
  uint64_t step = n * 5 / 8 | 1;
  while (std::gcd(step, n) != 1) step += 2;
  return (i * step + n / 3) % n;
}

}  // namespace host

// A kernel's first argument is its number of items. The limits are those of a GPU: an empty grid, for one, is an error.
template <typename F>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(int64_t, F), int64_t& items, F& each) {
  gridDim = config->gridDim;
  blockDim = config->blockDim;
  if (gridDim.x == 0 || gridDim.x > 0x7FFFFFFFu || blockDim.x == 0 || blockDim.x > 1024) return cudaErrorInvalidConfiguration;
  const uint64_t threads = uint64_t{gridDim.x} * blockDim.x;
  for (uint64_t i = 0; i < (host::only_last ? 32 : threads); ++i) {
    const uint64_t thread = host::only_last ? (items + threads - 1 - i) % threads : host::thread_at(i, threads);
    blockIdx.x = static_cast<unsigned>(thread / blockDim.x);
    threadIdx.x = static_cast<unsigned>(thread % blockDim.x);
    kernel(items, each);
  }
  return cudaSuccess;
}
