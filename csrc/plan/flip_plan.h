// Which rows a question of flips must evaluate: every (mask, flipped cell, draw, series) whose output is not known,
// grouped by width, handed out in chunks and never all at once. No torch, no Python: tested on its own.
#pragma once

#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "../common/rows.h"

namespace rambit {

enum class StartRule : int32_t { kZero = 0, kCell = 1, kAt = 2, kTable = 3, kLast = kTable };
enum class StateRule : int32_t { kNone = 0, kBase = 1, kSlot = 2, kLast = kSlot };

struct FlipSetting {
  int64_t D, T, S, B, M;
  int64_t window;          // anchor cell: how many horizons follow the cell
  bool anchor_cell;        // horizons follow the cell; otherwise they are the mask's own [h0, h1)
  bool per_horizon;        // one row for each horizon (a model with an output at its last step only)
  StartRule start_rule;
  StateRule state_rule;
  int64_t at;              // kAt: where every row starts
  std::vector<int32_t> first, h0, h1, low, high;  // (M,): first replaced step, horizons, [low, high): times of the flips
  std::vector<int32_t> draw_base;                 // (M,): number of the first set of counterfactual values
  std::vector<int32_t> target_cell;               // (M,) the one cell that is flipped, or empty: all cells
  std::vector<int32_t> start;                     // kTable: (M, D * T)
  std::vector<uint8_t> skip;                      // (S, B, D * T): rows whose output is known, or empty
};

class FlipPlan {
 public:
  explicit FlipPlan(FlipSetting setting) : s_(std::move(setting)), skipped_(count_skipped()) {
    const int64_t cells = s_.D * s_.T;
    for (int64_t m = 0; m < s_.M; ++m) {
      if (!s_.target_cell.empty()) {
        add(m, s_.target_cell[m]);
        continue;
      }
      for (int64_t t = s_.low[m]; t < s_.high[m]; ++t)
        for (int64_t d = 0; d < s_.D; ++d) add(m, d * s_.T + t);
    }
    for (auto& [key, pairs] : grouped_) buckets_.emplace_back(key, std::move(pairs));
    grouped_.clear();
    for (const auto& [key, pairs] : buckets_)
      for (const auto& pair : pairs) {
        const int64_t n = s_.S * s_.B - (skipped_.empty() ? 0 : skipped_[pair.cell % cells]);
        rows_ += n;
        row_steps_ += n * (key / 2);
      }
  }

  int64_t rows() const { return rows_; }
  int64_t row_steps() const { return row_steps_; }

  // Fills at most `limit` rows of one width; returns how many, 0 at the end.
  int64_t next(Row* out, int64_t limit, int64_t* width) {
    int64_t n = 0;
    while (n == 0 && bucket_ < buckets_.size()) {
      *width = buckets_[bucket_].first / 2;
      const auto& pairs = buckets_[bucket_].second;
      for (; pair_ < pairs.size(); ++pair_, item_ = 0) {
        for (; item_ < s_.S * s_.B; ++item_) {
          if (n == limit) return n;
          const int64_t draw = item_ / s_.B, b = item_ % s_.B;
          if (!s_.skip.empty() && s_.skip[item_ * s_.D * s_.T + pairs[pair_].cell] != 0) continue;
          out[n++] = row(pairs[pair_], draw, b, *width);
        }
      }
      ++bucket_;
      pair_ = 0;
      item_ = 0;
    }
    return n;
  }

 private:
  struct Pair {
    int32_t mask, cell;
  };

  std::vector<int64_t> count_skipped() const {
    if (s_.skip.empty()) return {};
    const int64_t cells = s_.D * s_.T;
    std::vector<int64_t> count(cells, 0);
    for (int64_t i = 0; i < s_.S * s_.B; ++i)
      for (int64_t c = 0; c < cells; ++c) count[c] += s_.skip[i * cells + c] != 0 ? 1 : 0;
    return count;
  }

  int64_t start_of(int64_t m, int64_t cell) const {
    switch (s_.start_rule) {
      case StartRule::kZero: return 0;
      case StartRule::kCell: return cell % s_.T;
      case StartRule::kAt: return s_.at;
      case StartRule::kTable: return s_.start[m * s_.D * s_.T + cell];
    }
    return 0;
  }

  // A flip shows from its first changed step on; with fixed counterfactuals that is the cell's own.
  int64_t shows_from(int64_t m, int64_t cell) const {
    return s_.start.empty() ? cell % s_.T : s_.start[m * s_.D * s_.T + cell];
  }

  std::pair<int64_t, int64_t> horizons(int64_t m, int64_t cell) const {
    const int64_t t = cell % s_.T;
    if (s_.anchor_cell) return {t, t + s_.window < s_.T ? t + s_.window : s_.T};
    const int64_t from = shows_from(m, cell);
    return {from > s_.h0[m] ? from : s_.h0[m], s_.h1[m]};
  }

  void add(int64_t m, int64_t cell) {
    const int64_t t = cell % s_.T;
    if (t < s_.low[m] || t >= s_.high[m]) return;
    const auto [from, to] = horizons(m, cell);
    if (from >= to) return;
    const Pair pair{static_cast<int32_t>(m), static_cast<int32_t>(cell)};
    if (s_.per_horizon) {
      for (int64_t h = from; h < to; ++h) grouped_[key(h + 1, 0)].push_back(pair);
    } else {
      const int64_t start = start_of(m, cell);
      grouped_[key(to - start, start)].push_back(pair);
    }
  }

  // Rows that start at time 0 have no state yet, so they never share a chunk with rows that have one.
  static int64_t key(int64_t width, int64_t start) { return 2 * width + (start > 0 ? 1 : 0); }

  Row row(const Pair& pair, int64_t draw, int64_t b, int64_t width) const {
    const int64_t m = pair.mask, cell = pair.cell, t = cell % s_.T, d = cell / s_.T;
    const auto [from, to] = horizons(m, cell);
    const int64_t start = s_.per_horizon ? 0 : start_of(m, cell), base = (m * s_.S + draw) * s_.B + b;
    int64_t state = 0;
    if (s_.state_rule == StateRule::kSlot) {
      state = ((t * s_.D + d) * s_.S + draw) * s_.B + b;
    } else if (s_.state_rule == StateRule::kBase) {  // before its first replaced step a base row is the original
      state = start <= s_.first[m] ? start * s_.B + b
                                   : s_.T * s_.B + start * (s_.M * s_.S * s_.B) + base;
    }
    Row r;
    r.series = static_cast<int32_t>(b);
    r.draw = static_cast<int32_t>(s_.draw_base[m] + draw);
    r.mask = pair.mask;
    r.cell = pair.cell;
    r.start = static_cast<int32_t>(start);
    r.horizon = static_cast<int32_t>(s_.per_horizon ? width - 1 : from);
    r.norm = static_cast<int32_t>(s_.anchor_cell ? to - from : s_.h1[m] - s_.h0[m]);
    r.slot = static_cast<int32_t>(s_.target_cell.empty() ? base * s_.D * s_.T + cell : base);
    r.state = static_cast<int32_t>(state);
    return r;
  }

  FlipSetting s_;
  std::vector<int64_t> skipped_;
  std::map<int64_t, std::vector<Pair>> grouped_;
  std::vector<std::pair<int64_t, std::vector<Pair>>> buckets_;  // ascending by key: no order depends on chunks
  size_t bucket_ = 0, pair_ = 0;
  int64_t item_ = 0, rows_ = 0, row_steps_ = 0;
};

}  // namespace rambit
