#include "launch.h"
#include "pack.h"

namespace rambit::cuda {
namespace {

// Where a row of out can be written 16 bytes at a time; its two sources then are read so too.
template <typename Bits>
bool packs(const BoxedBatchArgs& a) {
  const bool dense = a.out_stride[4] == 1 && a.inside_stride[3] == 1 && a.outside_stride[3] == 1;
  int64_t starts = a.X;
  for (int axis = 0; axis < 4; ++axis) starts |= a.out_stride[axis];
  for (int axis = 0; axis < 3; ++axis) starts |= a.inside_stride[axis] | a.outside_stride[axis];
  return dense && aligned(address(a.out) | address(a.inside) | address(a.outside) | starts * sizeof(Bits), 16);
}

// A thread takes N positions side by side, for all channels: each is inside if any box of its row holds it. What was
// there before does not matter.
template <typename Bits, int N>
void write(const BoxedBatchArgs& a, void* stream) {
  const int64_t groups = a.X / N, per_row = a.Z * a.Y * groups;
  each(a.n * per_row, stream, [a, groups, per_row] __device__(int64_t flat) {
    const int64_t i = flat / per_row, place = flat % per_row, line = place / groups;
    const int64_t z = a.Z == 1 ? 0 : line / a.Y, y = line - z * a.Y, x = (place - line * groups) * N;
    unsigned kept = 0;  // a bit a position
    constexpr unsigned kAll = (1u << N) - 1;
    for (int64_t k = a.offsets[i]; k < a.offsets[i + 1] && kept != kAll; ++k) {
      const Box& b = a.boxes[k];
      if (z < b.z0 || z >= b.z1 || y < b.y0 || y >= b.y1) continue;
      for (int n = 0; n < N; ++n) kept |= unsigned{b.x0 <= x + n && x + n < b.x1} << n;
    }
    const Bits* inside =
        static_cast<const Bits*>(a.inside) + z * a.inside_stride[1] + y * a.inside_stride[2] + x * a.inside_stride[3];
    const Bits* outside =
        static_cast<const Bits*>(a.outside) + z * a.outside_stride[1] + y * a.outside_stride[2] + x * a.outside_stride[3];
    Bits* out = static_cast<Bits*>(a.out) + i * a.out_stride[0] + z * a.out_stride[2] + y * a.out_stride[3] + x * a.out_stride[4];
    for (int64_t c = 0; c < a.C; ++c) {
      const Bits *in = inside + c * a.inside_stride[0], *other = outside + c * a.outside_stride[0];
      auto values = load<N>(kept == kAll ? in : other, true);
      if (kept != 0 && kept != kAll) {
        const auto some = load<N>(in, true);
        for (int n = 0; n < N; ++n)
          if ((kept >> n & 1) != 0) values.element[n] = some.element[n];
      }
      store<N>(out + c * a.out_stride[1], values);
    }
  });
}

template <typename Bits>
void write_boxes(const BoxedBatchArgs& a, void* stream) {
  packs<Bits>(a) ? write<Bits, kPack<Bits>>(a, stream) : write<Bits, 1>(a, stream);
}

}  // namespace

void boxed_batch(const BoxedBatchArgs& a, void* stream) {
  switch (a.bytes) {
    case 1: write_boxes<uint8_t>(a, stream); break;
    case 4: write_boxes<uint32_t>(a, stream); break;
    default: write_boxes<uint64_t>(a, stream);
  }
}

}  // namespace rambit::cuda
