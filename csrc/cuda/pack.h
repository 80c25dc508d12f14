// As many elements as fit 16 bytes, which one instruction loads or stores.
#pragma once

#include <cstdint>

namespace rambit::cuda {

template <typename Bits>
constexpr int kPack = 16 / sizeof(Bits);

template <typename T, int N>
struct alignas(sizeof(T) * N) Pack {
  T element[N];
};

// Whether addresses and steps in bytes, or-ed together, are all multiples of `size`, a power of two.
__host__ __device__ inline bool aligned(int64_t bytes, int64_t size) { return (bytes & (size - 1)) == 0; }

template <typename T>
__host__ __device__ int64_t address(const T* pointer) {
  return static_cast<int64_t>(reinterpret_cast<intptr_t>(pointer));
}

// N elements side by side; `whole` says that they are aligned as one.
template <int N, typename T>
__device__ Pack<T, N> load(const T* from, bool whole) {
  if (whole) return *reinterpret_cast<const Pack<T, N>*>(from);
  Pack<T, N> pack;
  for (int k = 0; k < N; ++k) pack.element[k] = from[k];
  return pack;
}

template <int N, typename T>
__device__ void store(T* to, const Pack<T, N>& pack) {
  *reinterpret_cast<Pack<T, N>*>(to) = pack;
}

}  // namespace rambit::cuda
