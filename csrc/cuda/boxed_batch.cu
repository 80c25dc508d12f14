#include "launch.h"

namespace rambit::cuda {
namespace {

// One thread an element: it is inside if any box of its row holds it. What was there before does not matter.
template <typename Bits>
void write(const BoxedBatchArgs& a, void* stream) {
  const int64_t positions = a.Z * a.Y * a.X;
  each(a.n * a.C * positions, stream, [a, positions] __device__(int64_t flat) {
    const int64_t i = flat / (a.C * positions), c = flat / positions % a.C, place = flat % positions;
    const int64_t z = place / (a.Y * a.X), y = place / a.X % a.Y, x = place % a.X;
    bool kept = false;
    for (int64_t k = a.offsets[i]; k < a.offsets[i + 1] && !kept; ++k) {
      const Box& b = a.boxes[k];
      kept = b.z0 <= z && z < b.z1 && b.y0 <= y && y < b.y1 && b.x0 <= x && x < b.x1;
    }
    static_cast<Bits*>(a.out)[i * a.out_stride[0] + c * a.out_stride[1] + z * a.out_stride[2] + y * a.out_stride[3] +
                              x * a.out_stride[4]] =
        kept ? static_cast<const Bits*>(a.inside)[c * a.inside_stride[0] + z * a.inside_stride[1] +
                                                  y * a.inside_stride[2] + x * a.inside_stride[3]]
             : static_cast<const Bits*>(a.outside)[c * a.outside_stride[0] + z * a.outside_stride[1] +
                                                   y * a.outside_stride[2] + x * a.outside_stride[3]];
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
