// Which cells a sampled mask keeps.
#pragma once

#include "philox.h"

namespace rambit {

enum class Family : int32_t {
  kBlock = 0, kBernoulli = 1, kSegments = 2, kUpperTriangle = 3, kPermutation = 4, kLast = kPermutation
};

struct MaskSpec {
  Family family;
  int64_t D, T;                                // the grid
  int64_t wt_min, wt_max, wd_min, wd_max;      // bounds of block length and height, already clipped to the grid
  double p;                                    // Bernoulli: probability that a cell is replaced
};

struct SampleMasksArgs {
  uint8_t* out;                 // (L, D, T)
  const int32_t* target_cells;  // (L,) the cell that each mask is for, or null for shared masks
  const int64_t* index;         // (L,) the masks' numbers in the stream
  int64_t L;
  MaskSpec spec;
  uint64_t seed;
};

// Fewer are not enough on small grids: with six, some subsets of 16 cells came up 40 times too often.
constexpr uint32_t kFeistelRounds = 24;

struct MaskDraw {
  int64_t t0, t1, d0, d1;  // replaced block [d0, d1) × [t0, t1)
  int64_t keep;            // Permutation: how many cells of the random order are kept
  uint32_t round_key[kFeistelRounds];  // Permutation
};

RAMBIT_HD int64_t between(uint64_t bits, int64_t low, int64_t high) { return low + below(bits, high - low + 1); }

// `target_cell` is the cell that a mask is for, 0 for shared masks; `index` counts the masks.
RAMBIT_HD MaskDraw draw_mask(const MaskSpec& s, uint64_t seed, uint32_t index, uint32_t target_cell) {
  MaskDraw m{};
  if (s.family == Family::kBernoulli || s.family == Family::kSegments) return m;  // drawn per cell or per feature
  const Words size = philox(seed, Stream::kBlock, 0, 0, target_cell, index);
  if (s.family == Family::kPermutation) {
    m.keep = below(word64(size, 0), s.D * s.T + 1);
    for (uint32_t i = 0; i < kFeistelRounds; i += 4) {
      const Words keys = philox(seed, Stream::kPermutation, i, 0, target_cell, index);
      for (uint32_t j = 0; j < 4; ++j) m.round_key[i + j] = keys.v[j];
    }
    return m;
  }
  const int64_t wt = between(word64(size, 0), s.wt_min, s.wt_max);
  const int64_t wd = between(word64(size, 1), s.wd_min, s.wd_max);
  if (s.family == Family::kUpperTriangle) {
    m.d0 = target_cell / s.T;
    m.t0 = target_cell % s.T;
    m.d1 = m.d0 + wd;
    m.t1 = m.t0 + wt;
    return m;
  }
  const Words corner = philox(seed, Stream::kBlock, 1, 0, target_cell, index);
  m.t0 = below(word64(corner, 0), s.T - wt + 1);
  m.d0 = below(word64(corner, 1), s.D - wd + 1);
  m.t1 = m.t0 + wt;
  m.d1 = m.d0 + wd;
  return m;
}

RAMBIT_HD uint32_t scramble(uint32_t x) {
  x ^= x >> 16;
  x *= 0x7FEB352Du;
  x ^= x >> 15;
  x *= 0x846CA68Bu;
  return x ^ (x >> 16);
}

// The rank of `cell` in a random order of n cells: a Feistel network over the next even power of two, walked until it
// falls below n. A bijection, so that ranks are distinct without ever storing the order.
RAMBIT_HD int64_t rank_of(const MaskDraw& m, int64_t cell, int64_t n) {
  int half = 1;
  while ((int64_t{1} << (2 * half)) < n) ++half;
  const uint64_t low = (uint64_t{1} << half) - 1;
  uint64_t x = static_cast<uint64_t>(cell);
  do {
    uint64_t left = x >> half, right = x & low;
    for (uint32_t r = 0; r < kFeistelRounds; ++r) {
      const uint64_t mixed = scramble(static_cast<uint32_t>(right) ^ m.round_key[r]) & low;
      const uint64_t next = left ^ mixed;
      left = right;
      right = next;
    }
    x = (left << half) | right;
  } while (x >= static_cast<uint64_t>(n));
  return static_cast<int64_t>(x);
}

RAMBIT_HD bool kept(const MaskSpec& s, const MaskDraw& m, uint64_t seed, uint32_t index, uint32_t target_cell, int64_t d,
                    int64_t t) {
  switch (s.family) {
    case Family::kBlock:
      return !(d >= m.d0 && d < m.d1 && t >= m.t0 && t < m.t1);
    case Family::kUpperTriangle:  // row i of the staircase starts i steps later
      return !(d >= m.d0 && d < m.d1 && t >= m.t0 + (d - m.d0) && t < m.t1);
    case Family::kBernoulli: {
      const Words w = philox(seed, Stream::kCell, static_cast<uint32_t>(t), static_cast<uint32_t>(d), target_cell, index);
      return !(unit(word64(w, 0)) < s.p);
    }
    case Family::kSegments: {  // a segment of its own for each feature
      const Words w = philox(seed, Stream::kSegment, 0, static_cast<uint32_t>(d), target_cell, index);
      const int64_t wt = between(word64(w, 0), s.wt_min, s.wt_max);
      const int64_t t0 = below(word64(w, 1), s.T - wt + 1);
      return !(t >= t0 && t < t0 + wt);
    }
    case Family::kPermutation:
      return rank_of(m, d * s.T + t, s.D * s.T) < m.keep;
  }
  return true;
}

// Mask l of a call. What all its cells share is drawn once; a cell is then cheap.
struct SampledMask {
  const SampleMasksArgs& a;
  uint32_t index, target_cell;
  MaskDraw drawn;

  RAMBIT_HD SampledMask(const SampleMasksArgs& args, int64_t l)
      : a(args),
        index(static_cast<uint32_t>(args.index[l])),
        target_cell(args.target_cells != nullptr ? static_cast<uint32_t>(args.target_cells[l]) : 0),
        drawn(draw_mask(args.spec, args.seed, index, target_cell)) {}

  RAMBIT_HD uint8_t operator()(int64_t d, int64_t t) const {
    return kept(a.spec, drawn, a.seed, index, target_cell, d, t) ? 1 : 0;
  }
};

}  // namespace rambit
