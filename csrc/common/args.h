// The arguments of each op as raw pointers and sizes: all that a kernel knows. Filled by glue.h, read by cpu/ and cuda/.
#pragma once

#include "families.h"
#include "fill.h"
#include "gates.h"
#include "metric.h"
#include "rows.h"

namespace rambit {

enum class Dtype : int32_t { kFloat = 0, kDouble = 1, kHalf = 2, kBFloat16 = 3 };
constexpr int bytes_of(Dtype dtype) { return dtype == Dtype::kDouble ? 8 : dtype == Dtype::kFloat ? 4 : 2; }

struct SampleMasksArgs {
  uint8_t* out;           // (L, D, T)
  const int32_t* owners;  // (L,) target cells, or null for shared masks
  const int64_t* index;   // (L,) the masks' numbers in the stream
  int64_t L;
  MaskSpec spec;
  uint64_t seed;
};

struct ShiftWindowsArgs {
  uint8_t* out;          // (L, W, D, T)
  const uint8_t* masks;  // (L, D, T)
  const int32_t* room;   // (L,) by how many steps a mask can move before it would leave the series
  int64_t L, W, D, T;
};

enum class Draw : int32_t { kUniform = 0, kGaussian = 1, kMarginal = 2, kJoint = 3 };

struct DrawArgs {
  void* out;               // (S, B, D, T) contiguous
  const void* background;  // (N, D, Tb) contiguous, or null
  const int64_t* ids;      // (B,)
  int64_t S, B, D, T, N, Tb, first_draw;
  Dtype dtype;
  Draw kind;
  double low, high;  // uniform: bounds; gaussian: mean and deviation
  uint64_t seed;
};

struct MaskedBatchArgs {
  void* out;                // (n, D, w)
  const void* x;            // (B, D, T)
  const void* draws;        // (K, B, D, T)
  const void* windows;      // (K, B, D, T, P): values of a replaced window by its start and the steps since, or null
  const uint8_t* masks;     // (M, D, T)
  const uint8_t* observed;  // (B, D, T) or null
  const Row* rows;          // (n,)
  int64_t n, w, B, D, T, K, M, P;
  int64_t out_stride[3], x_stride[3], draws_stride[4], windows_stride[5], masks_stride[3], observed_stride[3];
  Dtype dtype;
  Fill fill;
};

struct Box {  // half-open: [z0, z1) x [y0, y1) x [x0, x1)
  int32_t z0, z1, y0, y1, x0, x1;
};
constexpr int64_t kBoxColumns = 6;

struct BoxedBatchArgs {
  void* out;                     // (n, C, Z, Y, X)
  const void* inside;            // (C, Z, Y, X): the values in a row's boxes
  const void* outside;           // (C, Z, Y, X): those everywhere else
  const Box* boxes;
  const int64_t* offsets;        // (n + 1,): row i owns boxes offsets[i] … offsets[i + 1] - 1
  const Box* stale_boxes;        // what rows 0 … stale - 1 of out hold now, by the same rule; the rest of them is
  const int64_t* stale_offsets;  // `outside` already. A backend may use it to write less.
  int64_t n, stale, C, Z, Y, X, count, stale_count;
  int64_t out_stride[5], inside_stride[4], outside_stride[4];
  int bytes;                     // of an element
};

struct DistanceArgs {
  double* out;             // (n, K)
  const void* outputs;     // (n, C, K)
  const void* reference;   // (B, C, K)
  const int32_t* series;   // (n,)
  const int64_t* target;   // (B,)
  int64_t n, C, K, B;
  int64_t outputs_stride[3], reference_stride[3];
  Dtype dtype;
  Metric metric;
};

struct ScoreArgs {
  double* contributions;  // by slot
  const void* outputs;    // (n, C, K): the answers at the last K steps before `stop`
  const void* reference;  // (B, C, T): the original answers
  const double* base;     // (R, T): distances of the base rows, R = slots / cells per base row
  const uint8_t* masks;   // (M, D * T) contiguous
  const Row* rows;        // (n,)
  const int64_t* target;  // (B,)
  int64_t n, C, K, T, width, slots_per_base, cells, series, masks_count, slots;
  int64_t outputs_stride[3], reference_stride[3];
  Dtype dtype;
  Metric metric;
  Reduce reduce;
};

struct AccumulateArgs {
  double* sum;                  // (B, cells)
  double* squares;              // (B, cells)
  const double* contributions;  // (M, S, B, slots)
  const int32_t* unit;          // (M,) ascending: masks of one unit are averaged before they are squared
  const double* weight;         // (M,) weight of a mask in its unit
  const double* unit_weight;    // (M,) weight of the unit in the sum, the same for all masks of a unit
  const double* count;          // (M,) how many equal draws of this unit there are, the same for all masks of a unit
  const int32_t* own_cell;      // (M,) the one cell that a mask scores, or null where slots are all cells
  int64_t M, S, B, slots, cells;
};

// Gates are the products with the weights; the biases, one for each column of gates, are added in the step.
struct GruStepArgs {
  void* out;                 // (n, H)
  const void* input_gates;   // (n, 3 H): reset, update, new
  const void* hidden_gates;  // (n, 3 H)
  const void* input_bias;    // (3 H,) contiguous
  const void* hidden_bias;   // (3 H,) contiguous
  const void* state;         // (n, H)
  int64_t n, H;
  int64_t out_stride[2], input_stride[2], hidden_stride[2], state_stride[2];
  Dtype dtype;
};

// ---- per-element work that both kinds of kernel share -------------------------------------------------------------

// One step of one feature of a row whose counterfactuals depend on what it keeps.
template <typename T>
RAMBIT_HD T conditional_element(const MaskedBatchArgs& a, const Row& r, int64_t d, int64_t t) {
  const KeptLine kept{
      a.masks + r.mask * a.masks_stride[0] + d * a.masks_stride[1], a.masks_stride[2],
      a.observed == nullptr ? nullptr : a.observed + r.series * a.observed_stride[0] + d * a.observed_stride[1],
      a.observed_stride[2], r.cell >= 0 && r.cell / a.T == d ? r.cell % a.T : -1};
  const T* x = static_cast<const T*>(a.x) + r.series * a.x_stride[0] + d * a.x_stride[1];
  if (kept(t)) return x[t * a.x_stride[2]];
  if (a.fill == Fill::kWindows) {  // beyond the last predicted step, that step's values go on
    const int64_t start = window_start(kept, t), since = t - start < a.P ? t - start : a.P - 1;
    return static_cast<const T*>(a.windows)[r.draw * a.windows_stride[0] + r.series * a.windows_stride[1] + d * a.windows_stride[2] +
                                         start * a.windows_stride[3] + since * a.windows_stride[4]];
  }
  T value = conditional_value(a.fill, kept, x, a.x_stride[2], a.T, t);
  if (a.draws != nullptr)  // noise around the conditional value
    value += static_cast<const T*>(a.draws)[r.draw * a.draws_stride[0] + r.series * a.draws_stride[1] +
                                            d * a.draws_stride[2] + t * a.draws_stride[3]];
  return value;
}

// The contribution of one row: mean over horizons, or the difference of largest magnitude, added to what earlier
// horizons of the same row left there.
template <typename T>
RAMBIT_HD void score_row(const ScoreArgs& a, int64_t i) {
  const Row& row = a.rows[i];
  const T* outputs = static_cast<const T*>(a.outputs) + i * a.outputs_stride[0];
  const T* reference = static_cast<const T*>(a.reference) + row.series * a.reference_stride[0];
  const double* base = a.base + (row.slot / a.slots_per_base) * a.T;
  const int64_t target = a.target[row.series];
  const int64_t stop = row.start + a.width, first = stop - a.K;
  const bool kept_in_base = a.masks[row.mask * a.cells + row.cell] != 0;
  double value = a.contributions[row.slot];
  for (int64_t h = row.horizon; h < stop; ++h) {
    const double flipped =
        distance(a.metric, reference + h * a.reference_stride[2], a.reference_stride[1],
                 outputs + (h - first) * a.outputs_stride[2], a.outputs_stride[1], a.C, target);
    // i1 belongs to the row in which the cell is replaced, whichever of the two that is.
    const double difference = kept_in_base ? flipped - base[h] : base[h] - flipped;
    if (a.reduce == Reduce::kMean) {
      value += difference / row.norm;
    } else if (fabs(difference) > fabs(value) || difference != difference) {
      value = difference;
    }
  }
  a.contributions[row.slot] = value;
}

// One (series, slot) of the running sums: draws first, then the masks of a unit, then units in order.
RAMBIT_HD void accumulate_slot(const AccumulateArgs& a, int64_t b, int64_t k) {
  double unit_value = 0.0;
  for (int64_t m = 0; m < a.M; ++m) {
    double value = 0.0;
    for (int64_t s = 0; s < a.S; ++s) value += a.contributions[((m * a.S + s) * a.B + b) * a.slots + k];
    unit_value += a.weight[m] * (value / static_cast<double>(a.S));
    if (m + 1 < a.M && a.unit[m + 1] == a.unit[m]) continue;
    const int64_t cell = b * a.cells + (a.own_cell != nullptr ? a.own_cell[m] : k);
    a.sum[cell] += a.unit_weight[m] * unit_value;
    a.squares[cell] += a.count[m] * unit_value * unit_value;
    unit_value = 0.0;
  }
}

RAMBIT_HD double draw_value(const DrawArgs& a, int64_t s, int64_t b, int64_t d, int64_t t) {
  const uint32_t draw = static_cast<uint32_t>(a.first_draw + s), id = static_cast<uint32_t>(a.ids[b]);
  const Words w = philox(a.seed, Stream::kDraw, static_cast<uint32_t>(t), static_cast<uint32_t>(d), id, draw);
  const double u = unit(word64(w, 0));
  return a.kind == Draw::kUniform ? a.low + (a.high - a.low) * u : a.low + a.high * normal_quantile(u);
}

// Where in the background (N, D, Tb) a marginal or joint draw comes from.
RAMBIT_HD int64_t draw_source(const DrawArgs& a, int64_t s, int64_t b, int64_t d, int64_t t) {
  const uint32_t draw = static_cast<uint32_t>(a.first_draw + s), id = static_cast<uint32_t>(a.ids[b]);
  if (a.kind == Draw::kJoint) {  // one other series for the whole draw
    const Words w = philox(a.seed, Stream::kDraw, 0xFFFFFFFFu, 0xFFFFFFFFu, id, draw);
    return (below(word64(w, 0), a.N) * a.D + d) * a.Tb + t;
  }
  const Words w = philox(a.seed, Stream::kDraw, static_cast<uint32_t>(t), static_cast<uint32_t>(d), id, draw);
  const int64_t pick = below(word64(w, 0), a.N * a.Tb);
  return ((pick / a.Tb) * a.D + d) * a.Tb + pick % a.Tb;
}

// One hidden unit j of row i, strides as they come.
template <typename T>
RAMBIT_HD void gru_unit(const GruStepArgs& a, int64_t i, int64_t j) {
  const T* x = static_cast<const T*>(a.input_gates) + i * a.input_stride[0] + j * a.input_stride[1];
  const T* h = static_cast<const T*>(a.hidden_gates) + i * a.hidden_stride[0] + j * a.hidden_stride[1];
  const T *input_bias = static_cast<const T*>(a.input_bias) + j, *hidden_bias = static_cast<const T*>(a.hidden_bias) + j;
  const int64_t dx = a.H * a.input_stride[1], dh = a.H * a.hidden_stride[1];
  static_cast<T*>(a.out)[i * a.out_stride[0] + j * a.out_stride[1]] =
      gru_value(x[0] + input_bias[0], x[dx] + input_bias[a.H], x[2 * dx] + input_bias[2 * a.H], h[0] + hidden_bias[0],
                h[dh] + hidden_bias[a.H], h[2 * dh] + hidden_bias[2 * a.H],
                static_cast<const T*>(a.state)[i * a.state_stride[0] + j * a.state_stride[1]]);
}

}  // namespace rambit
