#include "launch.h"

namespace rambit::cuda {
namespace {

// One thread a position, for all its channels: it is inside if any box of its row holds it. What was there before does
// not matter.
template <typename Bits>
void write(const BoxedBatchArgs& a, void* stream) {
  const int64_t positions = a.Z * a.Y * a.X;
  each(a.n * positions, stream, [a, positions] __device__(int64_t flat) {
    const int64_t i = flat / positions, place = flat % positions;
    const int64_t z = place / (a.Y * a.X), y = place / a.X % a.Y, x = place % a.X;
    bool kept = false;
    for (int64_t k = a.offsets[i]; k < a.offsets[i + 1] && !kept; ++k) {
      const Box& b = a.boxes[k];
      kept = b.z0 <= z && z < b.z1 && b.y0 <= y && y < b.y1 && b.x0 <= x && x < b.x1;
    }
    const Bits* inside =
        static_cast<const Bits*>(a.inside) + z * a.inside_stride[1] + y * a.inside_stride[2] + x * a.inside_stride[3];
    const Bits* outside =
        static_cast<const Bits*>(a.outside) + z * a.outside_stride[1] + y * a.outside_stride[2] + x * a.outside_stride[3];
    const Bits* from = kept ? inside : outside;
    const int64_t step = kept ? a.inside_stride[0] : a.outside_stride[0];
    Bits* to = static_cast<Bits*>(a.out) + i * a.out_stride[0] + z * a.out_stride[2] + y * a.out_stride[3] + x * a.out_stride[4];
    for (int64_t c = 0; c < a.C; ++c) to[c * a.out_stride[1]] = from[c * step];
  });
}

}  // namespace

void boxed_batch(const BoxedBatchArgs& a, void* stream) {
  switch (a.bytes) {
    case 1: write<uint8_t>(a, stream); break;
    case 2: write<uint16_t>(a, stream); break;
    case 4: write<uint32_t>(a, stream); break;
    default: write<uint64_t>(a, stream);
  }
}

}  // namespace rambit::cuda
