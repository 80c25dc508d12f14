#include "launch.h"

namespace rambit::cuda {

void score(const ScoreArgs& a, void* stream) {
  if (a.dtype == Dtype::kFloat) {
    each(a.n, stream, [a] __device__(int64_t i) { score_row<float>(a, i); });
  } else {
    each(a.n, stream, [a] __device__(int64_t i) { score_row<double>(a, i); });
  }
}

}  // namespace rambit::cuda
