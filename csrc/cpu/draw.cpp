#include "../backend.h"
#include "parallel.h"

namespace rambit::cpu {
namespace {

template <typename T>
void fill_draws(const DrawArgs& a) {
  parallel_for(a.S * a.B, grain_for(a.D * a.T * 16), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      T* out = static_cast<T*>(a.out) + i * a.D * a.T;
      for (int64_t d = 0; d < a.D; ++d)
        for (int64_t t = 0; t < a.T; ++t) *out++ = draw_element<T>(a, i / a.B, i % a.B, d, t);
    }
  });
}

}  // namespace

void draw(const DrawArgs& a, void*) { a.dtype == Dtype::kFloat ? fill_draws<float>(a) : fill_draws<double>(a); }

}  // namespace rambit::cpu
