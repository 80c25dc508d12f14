// Masks and draws: against inline twins, and where offsets pass 2^31.
#include "check.h"
#include <cstring>

namespace rambit {
namespace {

std::vector<uint8_t> sampled(const MaskSpec& spec, const std::vector<int64_t>& index, const std::vector<int32_t>& target_cells,
                             uint64_t seed) {
  std::vector<uint8_t> out(index.size() * spec.D * spec.T, 0xAA);
  SampleMasksArgs a{out.data(), target_cells.empty() ? nullptr : target_cells.data(), index.data(), static_cast<int64_t>(index.size()),
                    spec, seed};
  kernels.sample_masks(a, nullptr);
  return out;
}

void test_sample_masks() {
  const int64_t D = 5, T = 8, cells = D * T;
  std::vector<int64_t> index;
  std::vector<int32_t> target_cells;
  for (int64_t i = 0; i < 200; ++i) {
    index.push_back(i * 1000003);
    target_cells.push_back(static_cast<int32_t>(i % cells));
  }
  for (int family = 0; family <= 4; ++family) {
    const MaskSpec spec{static_cast<Family>(family), D, T, 2, 4, 1, 3, 0.4};
    const auto out = sampled(spec, index, target_cells, 11);
    bool right = true;
    for (size_t l = 0; l < index.size(); ++l) {
      const uint8_t* m = &out[l * cells];
      const int64_t gone = std::count(m, m + cells, 0), d0 = target_cells[l] / T, t0 = target_cells[l] % T;
      right = right && gone + std::count(m, m + cells, 1) == cells;
      const MaskDraw drawn = draw_mask(spec, 11, static_cast<uint32_t>(index[l]), static_cast<uint32_t>(target_cells[l]));
      if (spec.family == Family::kBlock)
        right = right && gone == (drawn.t1 - drawn.t0) * (drawn.d1 - drawn.d0) && drawn.t0 >= 0 && drawn.t1 <= T &&
                drawn.d0 >= 0 && drawn.d1 <= D;
      if (spec.family == Family::kPermutation) right = right && gone == cells - drawn.keep;
      if (spec.family == Family::kUpperTriangle) right = right && m[d0 * T + t0] == 0;
      if (spec.family == Family::kSegments)
        for (int64_t d = 0; d < D; ++d) {
          const int64_t n = std::count(m + d * T, m + d * T + T, 0);
          const uint8_t* first = std::find(m + d * T, m + d * T + T, 0);
          right = right && n >= 2 && n <= 4 && std::count(first, first + n, 0) == n;
        }
    }
    CHECK(right);
  }
}

void test_shift_windows() {
  const int64_t L = 3, W = 5, D = 2, T = 4;
  std::vector<uint8_t> masks(L * D * T), out(L * W * D * T, 0xAA);
  for (auto& m : masks) m = static_cast<uint8_t>(pick(0, 1));
  const std::vector<int32_t> room{0, 2, 4};
  kernels.shift_windows({out.data(), masks.data(), room.data(), L, W, D, T}, nullptr);
  bool right = true;
  for (int64_t l = 0; l < L; ++l)
    for (int64_t w = 0; w < W; ++w)
      for (int64_t d = 0; d < D; ++d)
        for (int64_t t = 0; t < T; ++t) {
          const int64_t from = t - std::min<int64_t>(w, room[l]);
          right = right && out[((l * W + w) * D + d) * T + t] == (from < 0 ? 1 : masks[(l * D + d) * T + from]);
        }
  CHECK(right);
}

template <typename T>
void test_draw(Dtype dtype) {
  const int64_t S = 3, B = 2, D = 2, steps = 5, N = 4, Tb = 6;
  const std::vector<int64_t> ids{9, int64_t{1} << 31};
  std::vector<T> background(N * D * Tb);
  for (size_t i = 0; i < background.size(); ++i) background[i] = static_cast<T>(i);
  for (int kind = 0; kind <= 3; ++kind) {
    std::vector<T> out(S * B * D * steps, T(-1e9));
    DrawArgs a{out.data(), background.data(), ids.data(), S, B, D, steps, N, Tb, 1, dtype, static_cast<Draw>(kind), -2.0, 3.0,
               77};
    kernels.draw(a, nullptr);
    bool right = true;
    for (int64_t i = 0; i < S * B * D * steps; ++i) {
      const auto t = static_cast<uint32_t>(i % steps), d = static_cast<uint32_t>(i / steps % D);
      const int64_t b = i / (steps * D) % B;
      const auto s = static_cast<uint32_t>(i / (steps * D * B)) + 1;
      const auto id = static_cast<uint32_t>(ids[b]);
      const uint64_t bits = word64(philox(77, Stream::kDraw, t, d, id, s), 0);
      const uint64_t whole = word64(philox(77, Stream::kDraw, ~0u, ~0u, id, s), 0);
      const int64_t cell = below(bits, N * Tb);
      const T expected = kind == 0   ? static_cast<T>(-2 + 5 * unit(bits))
                         : kind == 1 ? static_cast<T>(-2 + 3 * normal_quantile(unit(bits)))
                         : kind == 2 ? background[(cell / Tb * D + d) * Tb + cell % Tb]
                                     : background[(below(whole, N) * D + d) * Tb + t];
      right = right && out[i] == expected;
    }
    CHECK(right);
  }
}

// ---- offsets beyond int32: the last item alone -------------------------------------------------------------------------

void test_draw_source_beyond_int32() {
  DrawArgs source{};
  source.N = 5, source.D = 3, source.Tb = kGiga, source.T = kGiga;
  const std::vector<int64_t> ids{1};
  source.ids = ids.data();
  bool right = true, beyond = false;
  for (source.first_draw = 0; source.first_draw < 50; ++source.first_draw)
    for (const Draw kind : {Draw::kMarginal, Draw::kJoint}) {
      source.kind = kind;
      const int64_t at = draw_source(source, 0, 0, 2, kGiga - 1);
      right = right && at >= 0 && at < 15 * kGiga && at / kGiga % 3 == 2;
      right = right && (kind == Draw::kMarginal || at % kGiga == kGiga - 1);
      beyond = beyond || at > 8 * kGiga;
    }
  CHECK(right && beyond);
}

void test_sample_masks_beyond_int32() {
  const OnlyLast only;
  const int64_t L = kGiga / 2, D = 4, T = 4;
  Sparse out(L * D * T), index(L * 8), target_cells(L * 4);
  index.as<int64_t>()[L - 1] = 77;
  target_cells.as<int32_t>()[L - 1] = 5;
  const MaskSpec spec{Family::kBernoulli, D, T, 1, 1, 1, 1, 0.5};
  kernels.sample_masks({out.as<uint8_t>(), target_cells.as<int32_t>(), index.as<int64_t>(), L, spec, 3}, nullptr);
  const auto expected = sampled(spec, {77}, {5}, 3);
  CHECK(std::equal(expected.begin(), expected.end(), out.as<uint8_t>() + (L - 1) * D * T));
}

void test_shift_windows_beyond_int32() {
  const OnlyLast only;
  const int64_t L = kGiga / 4, W = 2, D = 4, T = 4;
  Sparse out(L * W * D * T), masks(L * D * T), room(L * 4);
  std::memset(masks.as<uint8_t>() + (L - 1) * D * T, 1, D * T - 2);
  room.as<int32_t>()[L - 1] = 1;
  kernels.shift_windows({out.as<uint8_t>(), masks.as<uint8_t>(), room.as<int32_t>(), L, W, D, T}, nullptr);
  const uint8_t* last = out.as<uint8_t>() + (L * W - 1) * D * T;
  CHECK(std::count(last, last + D * T, 1) == D * T - 1 && last[D * T - 1] == 0);
}

void test_draw_beyond_int32() {
  const OnlyLast only;
  const int64_t S = 1 << 15, B = 1 << 14, D = 4, T = 4;
  Sparse out(S * B * D * T * 4);
  std::vector<int64_t> many(B, 3);
  many.back() = 9;
  DrawArgs a{out.as<float>(), nullptr, many.data(), S, B, D, T, 0, 0, 0, Dtype::kFloat, Draw::kUniform, 1, 2, 4};
  kernels.draw(a, nullptr);
  const uint64_t bits = word64(philox(4, Stream::kDraw, 3, 3, 9, static_cast<uint32_t>(S - 1)), 0);
  CHECK(out.as<float>()[S * B * D * T - 1] == static_cast<float>(1 + unit(bits)));
}

}  // namespace

std::vector<Test> mask_tests() {
  return {
      {"sample_masks", test_sample_masks, On::kEveryBackend},
      {"shift_windows", test_shift_windows, On::kEveryBackend},
      {"draw, float", [] { test_draw<float>(Dtype::kFloat); }, On::kEveryBackend},
      {"draw, double", [] { test_draw<double>(Dtype::kDouble); }, On::kEveryBackend},
      {"draw_source beyond int32", test_draw_source_beyond_int32, On::kOnce},
      {"sample_masks beyond int32", test_sample_masks_beyond_int32, On::kEveryBackend},
      {"shift_windows beyond int32", test_shift_windows_beyond_int32, On::kEveryBackend},
      {"draw beyond int32", test_draw_beyond_int32, On::kEveryBackend},
  };
}

}  // namespace rambit
