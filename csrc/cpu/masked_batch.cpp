#include <stdexcept>
#include <string>

#include "../backend.h"
#include "parallel.h"
#include "wide.h"

namespace rambit::cpu {
namespace {

// Elements are moved as raw bits: a fixed counterfactual needs no arithmetic.
#define RAMBIT_BLEND(NAME, BITS)                                                                                      \
  RAMBIT_WIDE void NAME(BITS* __restrict out, const BITS* __restrict x, const BITS* __restrict other,           \
                        const uint8_t* __restrict mask, int64_t n) {                                                \
    for (int64_t i = 0; i < n; ++i) out[i] = mask[i] != 0 ? x[i] : other[i];                                          \
  }
RAMBIT_BLEND(blend, uint32_t)
RAMBIT_BLEND(blend, uint64_t)
#undef RAMBIT_BLEND

// Before any thread starts: an exception inside a parallel region would lose its words.
void check_rows(const MaskedBatchArgs& a) {
  const bool no_values = a.K == 0 && (a.fill == Fill::kCarryForward || a.fill == Fill::kInterpolate);
  for (int64_t i = 0; i < a.n; ++i) {
    const Row& r = a.rows[i];
    const bool inside = r.series >= 0 && r.series < a.B && (no_values || (r.draw >= 0 && r.draw < a.K)) && r.mask >= 0 &&
                        r.mask < a.M && r.cell >= -1 && r.cell < a.D * a.T && r.start >= 0 && r.start + a.w <= a.T;
    if (!inside) throw std::out_of_range("rambit: masked_batch: row " + std::to_string(i) + " points outside its tensors");
  }
}

template <typename Bits>
void write_fixed(const MaskedBatchArgs& a, const Axes& axes, bool unit_strides, int64_t i) {
  const Row& r = a.rows[i];
  const auto [out, x, draws, mask, observed] = RowOperands<Bits>(a, i);
  const int64_t so = axes.outer, si = axes.inner;
  for (int64_t line = 0; line < axes.lines; ++line) {
    Bits* to = out + line * a.out_stride[so];
    const Bits* from = x + line * a.x_stride[so];
    const Bits* instead = draws + line * a.draws_stride[so + 1];
    const uint8_t* keep = mask + line * a.masks_stride[so];
    if (unit_strides) {
      blend(to, from, instead, keep, axes.length);
    } else {
      for (int64_t j = 0; j < axes.length; ++j)
        to[j * a.out_stride[si]] =
            keep[j * a.masks_stride[si]] != 0 ? from[j * a.x_stride[si]] : instead[j * a.draws_stride[si + 1]];
    }
  }
  // The exceptions after the rule, so that the rule stays one blend: missing values pass through, and the flip.
  if (observed != nullptr) {
    for (int64_t d = 0; d < a.D; ++d)
      for (int64_t t = 0; t < a.w; ++t)
        if (observed[d * a.observed_stride[1] + t * a.observed_stride[2]] == 0)
          out[d * a.out_stride[1] + t * a.out_stride[2]] = x[d * a.x_stride[1] + t * a.x_stride[2]];
  }
  if (r.cell < 0) return;
  const int64_t d = r.cell / a.T, t = r.cell % a.T - r.start;
  if (t < 0 || t >= a.w) return;
  if (observed != nullptr && observed[d * a.observed_stride[1] + t * a.observed_stride[2]] == 0) return;
  out[d * a.out_stride[1] + t * a.out_stride[2]] =
      mask[d * a.masks_stride[1] + t * a.masks_stride[2]] != 0 ? draws[d * a.draws_stride[2] + t * a.draws_stride[3]]
                                                               : x[d * a.x_stride[1] + t * a.x_stride[2]];
}

template <typename T>
void write_conditional(const MaskedBatchArgs& a, int64_t i) {
  const Row& r = a.rows[i];
  T* out = static_cast<T*>(a.out) + i * a.out_stride[0];
  for (int64_t d = 0; d < a.D; ++d)
    for (int64_t j = 0; j < a.w; ++j)
      out[d * a.out_stride[1] + j * a.out_stride[2]] = conditional_element<T>(a, r, d, r.start + j);
}

}  // namespace

void masked_batch(const MaskedBatchArgs& a, void*) {
  check_rows(a);
  const Axes axes = axes_of(a);
  const bool unit_strides = a.out_stride[axes.inner] == 1 && a.x_stride[axes.inner] == 1 && a.draws_stride[axes.inner + 1] == 1 &&
                            a.masks_stride[axes.inner] == 1;
  const bool wide = a.dtype == Dtype::kDouble;
  parallel_for(a.n, grain_for(a.D * a.w), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      if (a.fill != Fill::kFixed) {
        wide ? write_conditional<double>(a, i) : write_conditional<float>(a, i);
      } else {
        wide ? write_fixed<uint64_t>(a, axes, unit_strides, i) : write_fixed<uint32_t>(a, axes, unit_strides, i);
      }
    }
  });
}

}  // namespace rambit::cpu
