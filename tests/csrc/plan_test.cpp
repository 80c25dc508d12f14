// The plan of flips, against a plain enumeration of its rows.
#include "check.h"
#include <array>
#include <cstring>
#include <tuple>
#include "plan/flip_plan.h"

namespace rambit {
namespace {

std::vector<int32_t> random_times(int64_t n, int64_t low, int64_t high) {
  std::vector<int32_t> out;
  for (int64_t i = 0; i < n; ++i) out.push_back(static_cast<int32_t>(pick(low, high)));
  return out;
}

using Planned = std::pair<int64_t, std::array<int32_t, 9>>;

std::vector<Planned> enumerated(const FlipSetting& s) {
  std::vector<Planned> rows;
  for (int64_t m = 0; m < s.M; ++m)
    for (int64_t t = s.low[m]; t < s.high[m]; ++t)
      for (int64_t d = 0; d < s.D; ++d) {
        const int64_t cell = d * s.T + t;
        if (!s.target_cell.empty() && s.target_cell[m] != cell) continue;
        const int64_t tabled = s.start.empty() ? t : s.start[m * s.D * s.T + cell];
        std::vector<int64_t> horizons;
        for (int64_t h = 0; h < s.T; ++h)
          if (s.anchor_cell ? h >= t && h < t + s.window : h >= s.h0[m] && h < s.h1[m] && h >= tabled) horizons.push_back(h);
        if (horizons.empty()) continue;
        const int64_t start = s.start_rule == StartRule::kZero ? 0 : s.start_rule == StartRule::kCell ? t
                              : s.start_rule == StartRule::kAt ? s.at : tabled;
        const int64_t norm = s.anchor_cell ? static_cast<int64_t>(horizons.size()) : s.h1[m] - s.h0[m];
        if (!s.per_horizon) horizons = {horizons.front(), horizons.back()};
        for (size_t i = 0; i < (s.per_horizon ? horizons.size() : 1); ++i)
          for (int64_t draw = 0; draw < s.S; ++draw)
            for (int64_t b = 0; b < s.B; ++b) {
              if (!s.skip.empty() && s.skip[(draw * s.B + b) * s.D * s.T + cell] != 0) continue;
              const int64_t from = s.per_horizon ? 0 : start, stop = (s.per_horizon ? horizons[i] : horizons.back()) + 1;
              const int64_t base = (m * s.S + draw) * s.B + b;
              const int64_t state = s.state_rule == StateRule::kNone   ? 0
                                    : s.state_rule == StateRule::kSlot ? ((t * s.D + d) * s.S + draw) * s.B + b
                                    : from <= s.first[m]               ? from * s.B + b
                                                                       : s.T * s.B + from * s.M * s.S * s.B + base;
              const int64_t slot = s.target_cell.empty() ? base * s.D * s.T + cell : base;
              std::array<int32_t, 9> row{};
              size_t column = 0;
              for (const int64_t v : {b, s.draw_base[m] + draw, m, cell, from, horizons[i], norm, slot, state})
                row[column++] = static_cast<int32_t>(v);
              rows.emplace_back(stop - from, row);
            }
      }
  std::stable_sort(rows.begin(), rows.end(), [](const Planned& a, const Planned& b) {
    return std::make_pair(a.first, a.second[4] > 0) < std::make_pair(b.first, b.second[4] > 0);
  });
  return rows;
}

FlipSetting random_setting() {
  FlipSetting s{};
  s.D = pick(1, 3), s.T = pick(1, 6), s.S = pick(1, 2), s.B = pick(1, 3), s.M = pick(0, 4), s.window = pick(1, 7);
  s.anchor_cell = pick(0, 1), s.per_horizon = pick(0, 1);
  s.start_rule = static_cast<StartRule>(pick(0, 3)), s.state_rule = static_cast<StateRule>(pick(0, 2));
  s.at = s.start_rule == StartRule::kAt ? pick(0, s.T - 1) : 0;
  s.first = random_times(s.M, 0, s.T);
  s.h0 = random_times(s.M, s.at, s.T), s.h1 = random_times(s.M, s.at, s.T);
  s.low = random_times(s.M, s.at, s.T), s.high = random_times(s.M, s.at, s.T);
  for (auto [low, high] : {std::make_pair(&s.h0, &s.h1), std::make_pair(&s.low, &s.high)})
    for (int64_t m = 0; m < s.M; ++m)
      if ((*low)[m] > (*high)[m]) std::swap((*low)[m], (*high)[m]);
  s.draw_base = random_times(s.M, 0, 50);
  if (pick(0, 1)) s.target_cell = random_times(s.M, 0, s.D * s.T - 1);
  if (s.start_rule == StartRule::kTable || (s.start_rule == StartRule::kZero && pick(0, 1)))
    for (int64_t i = 0; i < s.M * s.D * s.T; ++i) s.start.push_back(static_cast<int32_t>(pick(0, i % s.T)));
  if (pick(0, 1))
    for (int64_t i = 0; i < s.S * s.B * s.D * s.T; ++i) s.skip.push_back(static_cast<uint8_t>(pick(0, 2) == 0));
  return s;
}

void test_flip_plan() {
  bool right = true, counted = true, apart = true;
  size_t total = 0;
  for (int i = 0; i < 1000; ++i) {
    const FlipSetting s = random_setting();
    const auto expected = enumerated(s);
    total += expected.size();
    int64_t steps = 0;
    for (const auto& row : expected) steps += row.first;
    for (const int64_t limit : {1, 7, 1000}) {
      FlipPlan plan(s);
      counted = counted && plan.rows() == static_cast<int64_t>(expected.size()) && plan.row_steps() == steps;
      std::vector<Row> chunk(limit);
      std::vector<Planned> found;
      int64_t width = 0;
      while (const int64_t n = plan.next(chunk.data(), limit, &width)) {
        for (int64_t k = 0; k < n; ++k) {
          std::array<int32_t, 9> row{};
          std::memcpy(row.data(), &chunk[k], sizeof(Row));
          found.emplace_back(width, row);
          apart = apart && (chunk[k].start > 0) == (chunk[0].start > 0);
        }
      }
      right = right && found == expected;
    }
  }
  CHECK(right && counted && apart && total > 5000);
}

}  // namespace

std::vector<Test> plan_tests() {
  return {
      {"flip plan", test_flip_plan, On::kOnce},
  };
}

}  // namespace rambit
