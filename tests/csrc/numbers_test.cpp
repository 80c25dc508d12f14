// Random numbers, and the orders made of them.
#include "check.h"
#include <array>

namespace rambit {
namespace {

Words plain_philox(std::array<uint32_t, 4> c, uint32_t k0, uint32_t k1) {
  const uint32_t tag = static_cast<uint32_t>(Stream::kDraw) * 0x85EBCA6Bu;  // what philox() folds into the second key word
  return philox((static_cast<uint64_t>(k1 ^ tag) << 32) | k0, Stream::kDraw, c[0], c[1], c[2], c[3]);
}

bool equal(const Words& w, std::array<uint32_t, 4> expected) { return std::equal(expected.begin(), expected.end(), w.v); }

void test_philox() {  // Random123, kat_vectors: philox4x32 10
  const uint32_t ones = 0xFFFFFFFF;
  CHECK(equal(plain_philox({0, 0, 0, 0}, 0, 0), {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  CHECK(equal(plain_philox({ones, ones, ones, ones}, ones, ones), {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  CHECK(equal(plain_philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, 0xa4093822, 0x299f31d0),
              {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
  const Words w{{1, 2, 3, 4}};
  CHECK(word64(w, 0) == 0x200000001ull && word64(w, 1) == 0x400000003ull);
}

void test_numbers() {
  const uint64_t most = ~uint64_t{0};
  CHECK(below(0, 7) == 0 && below(most, 7) == 6 && below(most, 1) == 0 && below(uint64_t{1} << 63, 10) == 5);
  CHECK(below(most, std::numeric_limits<int64_t>::max()) == std::numeric_limits<int64_t>::max() - 1);
  CHECK(unit(0) == std::ldexp(1.0, -53) && unit(most) == 1 - std::ldexp(1.0, -53));

  double worst = 0;
  for (int i = 0; i < 20000; ++i) {
    const double x = i % 2 == 0 ? std::ldexp(real(), static_cast<int>(pick(-1000, 1000))) : 0.5 + real();
    worst = std::max(worst, std::fabs(portable_log(x) - std::log(x)) / (std::fabs(std::log(x)) + 1e-300));
  }
  CHECK(worst < 1e-15);
  CHECK(portable_log(1) == 0);

  worst = 0;  // back through the distribution function; its relative error grows with x²
  for (int i = 0; i < 20000; ++i) {
    const double p = i % 2 == 0 ? unit(random_bits()) : std::ldexp(1 + real(), -static_cast<int>(pick(2, 53)));
    const double x = normal_quantile(p);
    worst = std::max(worst, std::fabs(0.5 * std::erfc(-x / std::sqrt(2.0)) - p) / p / (1 + x * x));
    if (p < 0.5) worst = std::max(worst, std::fabs(normal_quantile(1 - p) + normal_quantile(1 - (1 - p))));
  }
  CHECK(worst < 1e-14);
  CHECK(normal_quantile(0.5) == 0);
  CHECK(near(normal_quantile(0.975), 1.959963984540054, 1e-15) && near(normal_quantile(1e-300), -37.0471, 1e-6));
}

void test_ranks() {
  bool bijective = true;
  for (int64_t n = 1; n <= 300; ++n) {
    MaskDraw m{};
    for (auto& key : m.round_key) key = static_cast<uint32_t>(random_bits());
    std::vector<int> met(n, 0);
    for (int64_t cell = 0; cell < n; ++cell) {
      const int64_t rank = rank_of(m, cell, n);
      if (rank >= 0 && rank < n) ++met[rank];
    }
    bijective = bijective && std::count(met.begin(), met.end(), 1) == n;
  }
  CHECK(bijective);
}

}  // namespace

std::vector<Test> number_tests() {
  return {
      {"philox", test_philox, On::kOnce},
      {"numbers", test_numbers, On::kOnce},
      {"ranks", test_ranks, On::kOnce},
  };
}

}  // namespace rambit
