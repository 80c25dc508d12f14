#include "../backend.h"
#include "parallel.h"

namespace rambit::cpu {

void sample_masks(const SampleMasksArgs& a, void*) {
  const int64_t D = a.spec.D, T = a.spec.T;
  parallel_for(a.L, grain_for(D * T), [&](int64_t begin, int64_t end) {
    for (int64_t l = begin; l < end; ++l) {
      const SampledMask mask(a, l);
      uint8_t* out = a.out + l * D * T;
      for (int64_t d = 0; d < D; ++d)
        for (int64_t t = 0; t < T; ++t) *out++ = mask(d, t);
    }
  });
}

}  // namespace rambit::cpu
