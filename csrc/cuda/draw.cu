#include "launch.h"

namespace rambit::cuda {
namespace {

template <typename T>
void fill_draws(const DrawArgs& a, void* stream) {
  each(a.S * a.B * a.D * a.T, stream, [a] __device__(int64_t i) {
    const int64_t t = i % a.T, d = i / a.T % a.D, b = i / (a.T * a.D) % a.B, s = i / (a.T * a.D * a.B);
    static_cast<T*>(a.out)[i] = draw_element<T>(a, s, b, d, t);
  });
}

}  // namespace

void draw(const DrawArgs& a, void* stream) {
  a.dtype == Dtype::kFloat ? fill_draws<float>(a, stream) : fill_draws<double>(a, stream);
}

}  // namespace rambit::cuda
