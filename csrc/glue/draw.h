#pragma once

#include "../common/draw.h"
#include "entry.h"

namespace rambit::glue {

template <typename Backend>
void draw(Tensor out, std::optional<Tensor> background, Tensor ids, int64_t kind, double low, double high,
          int64_t first_draw, int64_t seed) {
  [[maybe_unused]] const auto guard = enter<Backend>("draw", {{"out", out}, {"background", background}, {"ids", ids}});
  RAMBIT_CHECK(out.dim() == 4 && out.is_contiguous(), "draw: out is (S, B, D, T), contiguous");
  DrawArgs a{};
  a.out = out.mutable_data_ptr();
  a.S = out.size(0);
  a.B = out.size(1);
  a.D = out.size(2);
  a.T = out.size(3);
  RAMBIT_CHECK(has_shape(ids, {a.B}), "draw: ids is (B,)");
  a.ids = plain<int64_t>(ids, ScalarType::Long, "ids");
  a.kind = enum_of<Draw>(kind, "draw: unknown kind");
  a.dtype = dtype_of(out, "draw");
  if (reads_background(a.kind)) {
    RAMBIT_CHECK(background.has_value() && background->dim() == 3 && background->size(0) > 0 && background->size(2) > 0,
                 "draw: background is (N, D, T)");
    RAMBIT_CHECK(background->size(1) == a.D && background->scalar_type() == out.scalar_type() &&
                     background->is_contiguous(),
                 "draw: background must match out");
    RAMBIT_CHECK(a.kind == Draw::kMarginal || background->size(2) >= a.T,
                 "draw: a joint background is as long as the series");
    a.background = background->const_data_ptr();
    a.N = background->size(0);
    a.Tb = background->size(2);
  }
  a.first_draw = first_draw;
  a.low = low;
  a.high = high;
  a.seed = static_cast<uint64_t>(seed);
  if (out.numel() > 0) Backend::draw(a, Backend::stream(out));
}

}  // namespace rambit::glue
