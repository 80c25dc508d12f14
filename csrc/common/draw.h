// Fixed counterfactual values, each keyed by (seed, series id, draw, position).
#pragma once

#include "dtype.h"
#include "philox.h"

namespace rambit {

enum class Draw : int32_t { kUniform = 0, kGaussian = 1, kMarginal = 2, kJoint = 3, kLast = kJoint };

RAMBIT_HD bool reads_background(Draw kind) { return kind == Draw::kMarginal || kind == Draw::kJoint; }

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

// A uniform or gaussian draw.
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

template <typename T>
RAMBIT_HD T draw_element(const DrawArgs& a, int64_t s, int64_t b, int64_t d, int64_t t) {
  return reads_background(a.kind) ? static_cast<const T*>(a.background)[draw_source(a, s, b, d, t)]
                                  : static_cast<T>(draw_value(a, s, b, d, t));
}

}  // namespace rambit
