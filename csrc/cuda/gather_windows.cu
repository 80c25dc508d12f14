#include "launch.h"
#include "pack.h"

namespace rambit::cuda {
namespace {

// Whether the values of a step are read and written 16 bytes at a time.
template <typename Bits>
bool packs(const GatherWindowsArgs& a) {
  const bool dense = a.out_stride[2] == 1 && (a.v == 0 || a.window_stride[2] == 1);
  int64_t starts = a.K | a.out_stride[0] | a.out_stride[1];
  if (a.v > 0) starts |= a.window_stride[0] | a.window_stride[1];
  return dense && aligned(address(a.out) | address(a.places) | address(a.window) | starts * sizeof(Bits), 16);
}

// N values side by side of row i at a position.
template <typename Bits, int N>
__device__ Pack<Bits, N> values_at(const GatherWindowsArgs& a, int64_t i, int64_t position, int64_t k) {
  const WindowRow row(a, i);
  if (row.window_begin <= position && position < row.window_end)
    return load<N>(static_cast<const Bits*>(a.window) + i * a.window_stride[0] + (position - row.lag) * a.window_stride[1] +
                       k * a.window_stride[2],
                   N > 1);
  if (row.series_begin <= position && position < row.series_end)
    return load<N>(static_cast<const Bits*>(a.places) + offset_in_places(a, i, position) + k, N > 1);
  Pack<Bits, N> outside;
  for (int n = 0; n < N; ++n) outside.element[n] = static_cast<Bits>(a.outside);
  return outside;
}

// A thread takes N values of a step.
template <typename Bits, int N>
void write(const GatherWindowsArgs& a, void* stream) {
  const int64_t groups = a.K / N;
  each(a.n * a.w * groups, stream, [a, groups] __device__(int64_t flat) {
    const int64_t step = flat / groups, k = (flat - step * groups) * N, i = step / a.w, position = step - i * a.w;
    store<N>(static_cast<Bits*>(a.out) + i * a.out_stride[0] + position * a.out_stride[1] + k * a.out_stride[2],
             values_at<Bits, N>(a, i, position, k));
  });
}

template <typename Bits>
void write_windows(const GatherWindowsArgs& a, void* stream) {
  packs<Bits>(a) ? write<Bits, kPack<Bits>>(a, stream) : write<Bits, 1>(a, stream);
}

}  // namespace

void gather_windows(const GatherWindowsArgs& a, void* stream) {
  switch (a.bytes) {
    case 1: write_windows<uint8_t>(a, stream); break;
    case 2: write_windows<uint16_t>(a, stream); break;
    case 4: write_windows<uint32_t>(a, stream); break;
    default: write_windows<uint64_t>(a, stream);
  }
}

}  // namespace rambit::cuda
