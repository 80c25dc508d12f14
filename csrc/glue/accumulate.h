#pragma once

#include "../common/accumulate.h"
#include "entry.h"

namespace rambit::glue {

template <typename Backend>
void accumulate(Tensor sum, Tensor squares, Tensor contributions, Tensor unit, Tensor weight, Tensor unit_weight,
                Tensor count, std::optional<Tensor> target_cell) {
  [[maybe_unused]] const auto guard =
      enter<Backend>("accumulate", {{"sum", sum}, {"squares", squares}, {"contributions", contributions},
                                    {"unit", unit}, {"weight", weight}, {"unit_weight", unit_weight}, {"count", count},
                                    {"target_cell", target_cell}});
  AccumulateArgs a{};
  RAMBIT_CHECK(contributions.dim() == 4 && sum.dim() == 2,
               "accumulate: contributions is (M, S, B, slots), sum (B, cells)");
  a.M = contributions.size(0);
  a.S = contributions.size(1);
  a.B = contributions.size(2);
  a.slots = contributions.size(3);
  a.cells = sum.size(1);
  RAMBIT_CHECK(has_shape(sum, {a.B, a.cells}) && has_shape(squares, {a.B, a.cells}), "accumulate: shapes differ");
  RAMBIT_CHECK(has_shape(unit, {a.M}) && has_shape(weight, {a.M}) && has_shape(unit_weight, {a.M}) &&
                   has_shape(count, {a.M}),
               "accumulate: one unit and weight a mask");
  RAMBIT_CHECK(target_cell.has_value() ? (a.slots == 1 && has_shape(*target_cell, {a.M})) : a.slots == a.cells,
               "accumulate: slots are all cells, or the mask's own");
  a.sum = plain_out<double>(sum, ScalarType::Double, "sum");
  a.squares = plain_out<double>(squares, ScalarType::Double, "squares");
  a.contributions = plain<double>(contributions, ScalarType::Double, "contributions");
  a.unit = plain<int32_t>(unit, ScalarType::Int, "unit");
  a.weight = plain<double>(weight, ScalarType::Double, "weight");
  a.unit_weight = plain<double>(unit_weight, ScalarType::Double, "unit_weight");
  a.count = plain<double>(count, ScalarType::Double, "count");
  a.target_cell = target_cell.has_value() ? plain<int32_t>(*target_cell, ScalarType::Int, "target_cell") : nullptr;
  if (contributions.numel() > 0) Backend::accumulate(a, Backend::stream(sum));
}

}  // namespace rambit::glue
