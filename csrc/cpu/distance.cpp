#include <stdexcept>
#include <string>

#include "../backend.h"
#include "parallel.h"

namespace rambit::cpu {
namespace {

template <typename T>
void distances(const DistanceArgs& a) {
  parallel_for(a.n, grain_for(a.K * a.C * 8), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      for (int64_t k = 0; k < a.K; ++k) a.out[i * a.K + k] = distance_element<T>(a, i, k);
  });
}

void check_series(const DistanceArgs& a) {
  for (int64_t i = 0; i < a.n; ++i) {
    const int64_t b = a.series[i];
    const bool inside = b >= 0 && b < a.B && (!reads_target(a.metric) || (a.target[b] >= 0 && a.target[b] < a.C));
    if (!inside) throw std::out_of_range("rambit: distance: row " + std::to_string(i) + " points outside its tensors");
  }
}

}  // namespace

void distance(const DistanceArgs& a, void*) {
  check_series(a);
  a.dtype == Dtype::kFloat ? distances<float>(a) : distances<double>(a);
}

}  // namespace rambit::cpu
