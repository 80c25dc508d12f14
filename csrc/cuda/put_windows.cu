#include "launch.h"
#include "pack.h"

namespace rambit::cuda {
namespace {

// Whether the values of a step are read and written 16 bytes at a time.
template <typename Bits>
bool packs(const PutWindowsArgs& a) {
  const bool dense = a.out_stride[2] == 1 && a.window_stride[2] == 1;
  const int64_t starts = a.K | a.out_stride[0] | a.out_stride[1] | a.window_stride[0] | a.window_stride[1];
  return dense && aligned(address(a.out) | address(a.window) | starts * sizeof(Bits), 16);
}

// A thread takes N values of a step. A window that leaves its row, which only the CPU can refuse, is not written.
template <typename Bits, int N>
void write(const PutWindowsArgs& a, void* stream) {
  const int64_t groups = a.K / N;
  each(a.n * a.v * groups, stream, [a, groups] __device__(int64_t flat) {
    const int64_t step = flat / groups, k = (flat - step * groups) * N, i = step / a.v, position = step - i * a.v;
    if (!fits(a, i)) return;
    store<N>(static_cast<Bits*>(a.out) + i * a.out_stride[0] + (a.start[i] + position) * a.out_stride[1] + k * a.out_stride[2],
             load<N>(static_cast<const Bits*>(a.window) + i * a.window_stride[0] + position * a.window_stride[1] +
                         k * a.window_stride[2],
                     N > 1));
  });
}

template <typename Bits>
void write_windows(const PutWindowsArgs& a, void* stream) {
  packs<Bits>(a) ? write<Bits, kPack<Bits>>(a, stream) : write<Bits, 1>(a, stream);
}

}  // namespace

void put_windows(const PutWindowsArgs& a, void* stream) {
  switch (a.bytes) {
    case 1: write_windows<uint8_t>(a, stream); break;
    case 2: write_windows<uint16_t>(a, stream); break;
    case 4: write_windows<uint32_t>(a, stream); break;
    default: write_windows<uint64_t>(a, stream);
  }
}

}  // namespace rambit::cuda
