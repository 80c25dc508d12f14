#include "launch.h"

namespace rambit::cuda {

void sample_masks(const SampleMasksArgs& a, void* stream) {
  const int64_t cells = a.spec.D * a.spec.T;
  each(a.L * cells, stream, [a, cells] __device__(int64_t i) {
    const int64_t cell = i % cells;
    a.out[i] = SampledMask(a, i / cells)(cell / a.spec.T, cell % a.spec.T);
  });
}

}  // namespace rambit::cuda
