#include <stdexcept>
#include <string>

#include "../backend.h"
#include "parallel.h"

namespace rambit::cpu {
namespace {

void check_rows(const ScoreArgs& a) {
  for (int64_t i = 0; i < a.n; ++i) {
    const Row& r = a.rows[i];
    const bool inside = r.series >= 0 && r.series < a.series && r.mask >= 0 && r.mask < a.masks_count && r.cell >= 0 &&
                        r.cell < a.cells && r.slot >= 0 && r.slot < a.slots && r.start >= 0 && r.start + a.width <= a.T &&
                        r.horizon >= r.start + a.width - a.K && r.norm > 0 &&
                        (!reads_target(a.metric) || (a.target[r.series] >= 0 && a.target[r.series] < a.C));
    if (!inside) throw std::out_of_range("rambit: score: row " + std::to_string(i) + " points outside its tensors");
  }
}

}  // namespace

// Slots are distinct within a call, so rows can be scored in any order.
void score(const ScoreArgs& a, void*) {
  check_rows(a);
  parallel_for(a.n, grain_for(a.K * a.C * 8), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) a.dtype == Dtype::kFloat ? score_row<float>(a, i) : score_row<double>(a, i);
  });
}

}  // namespace rambit::cpu
