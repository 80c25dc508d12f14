#pragma once

#include "../common/sample_masks.h"
#include "entry.h"

namespace rambit::glue {

template <typename Backend>
void sample_masks(Tensor out, Tensor index, std::optional<Tensor> target_cells, int64_t family, int64_t wt_min,
                  int64_t wt_max, int64_t wd_min, int64_t wd_max, double p, int64_t seed) {
  [[maybe_unused]] const auto guard =
      enter<Backend>("sample_masks", {{"out", out}, {"index", index}, {"target_cells", target_cells}});
  RAMBIT_CHECK(out.dim() == 3, "sample_masks: out is (L, D, T)");
  const int64_t L = out.size(0), D = out.size(1), T = out.size(2);
  RAMBIT_CHECK(has_shape(index, {L}), "sample_masks: index is (L,)");
  RAMBIT_CHECK(!target_cells.has_value() || has_shape(*target_cells, {L}), "sample_masks: target_cells is (L,)");
  RAMBIT_CHECK(1 <= wt_min && wt_min <= wt_max && 1 <= wd_min && wd_min <= wd_max, "sample_masks: bad bounds");
  SampleMasksArgs a{};
  a.spec = MaskSpec{enum_of<Family>(family, "sample_masks: unknown family"), D, T, wt_min, wt_max, wd_min, wd_max, p};
  RAMBIT_CHECK(L * D * T == 0 || a.spec.family == Family::kUpperTriangle || (wt_max <= T && wd_max <= D),
               "sample_masks: bounds exceed the grid");
  a.out = plain_out<uint8_t>(out, ScalarType::Bool, "out");
  a.target_cells = target_cells.has_value() ? plain<int32_t>(*target_cells, ScalarType::Int, "target_cells") : nullptr;
  a.index = plain<int64_t>(index, ScalarType::Long, "index");
  a.L = L;
  a.seed = static_cast<uint64_t>(seed);
  if (L * D * T > 0) Backend::sample_masks(a, Backend::stream(out));
}

}  // namespace rambit::glue
