#include "launch.h"

namespace rambit::cuda {

void sample_masks(const SampleMasksArgs& a, void* stream) {
  const int64_t cells = a.spec.D * a.spec.T;
  each(a.L * cells, stream, [a, cells] __device__(int64_t i) {
    const int64_t l = i / cells, cell = i % cells;
    const uint32_t index = static_cast<uint32_t>(a.index[l]);
    const uint32_t owner = a.owners != nullptr ? static_cast<uint32_t>(a.owners[l]) : 0;
    const MaskDraw m = draw_mask(a.spec, a.seed, index, owner);
    a.out[i] = kept(a.spec, m, a.seed, index, owner, cell / a.spec.T, cell % a.spec.T) ? 1 : 0;
  });
}

}  // namespace rambit::cuda
