// The kernels and the plan without torch: against inline twins, with offsets beyond 2^31, under ASan and UBSan.
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <functional>
#include <limits>
#include <random>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

#include "backend.h"
#include "cpu/parallel.h"
#include "plan/flip_plan.h"

namespace rambit::cpu {

// Serial, so that the sanitizers see every access. `only_last` skips to the last item: tensors too large to be walked.
bool only_last = false;
int64_t chunk = 1 << 30;

void run_parallel(int64_t n, int64_t, RangeBody body, void* context) {
  for (int64_t begin = only_last ? n - 1 : 0; begin < n; begin += chunk) body(context, begin, std::min(n, begin + chunk));
}

}  // namespace rambit::cpu

using namespace rambit;

namespace {

int passed = 0, failed = 0;

void check(bool holds, const char* what, int line) {
  holds ? ++passed : ++failed;
  if (!holds) std::printf("line %d: %s\n", line, what);
}
#define CHECK(condition) check((condition), #condition, __LINE__)

template <typename F>
bool throws(F f) {
  try {
    f();
  } catch (const std::exception&) {
    return true;
  }
  return false;
}

bool near(double a, double b, double tolerance = 1e-12) { return std::fabs(a - b) <= tolerance * (1 + std::fabs(b)); }

std::mt19937_64 random_bits(7);
int64_t pick(int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(random_bits); }
double real() { return std::uniform_real_distribution<double>(0.01, 1)(random_bits); }

// Address space without memory behind it: pages come when they are touched, and hold zeros.
class Sparse {
 public:
  explicit Sparse(int64_t bytes) : bytes_(static_cast<size_t>(bytes)) {
    at_ = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at_ == MAP_FAILED) throw std::runtime_error("no address space of " + std::to_string(bytes >> 30) + " GiB");
  }
  Sparse(const Sparse&) = delete;
  ~Sparse() { munmap(at_, bytes_); }
  template <typename T>
  T* as() {
    return static_cast<T*>(at_);
  }

 private:
  void* at_;
  size_t bytes_;
};

constexpr int64_t kGiga = int64_t{1} << 30;

// ---- random numbers ---------------------------------------------------------------------------------------------------

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

// ---- masks ------------------------------------------------------------------------------------------------------------

std::vector<uint8_t> sampled(const MaskSpec& spec, const std::vector<int64_t>& index, const std::vector<int32_t>& owners,
                             uint64_t seed) {
  std::vector<uint8_t> out(index.size() * spec.D * spec.T, 0xAA);
  SampleMasksArgs a{out.data(), owners.empty() ? nullptr : owners.data(), index.data(), static_cast<int64_t>(index.size()),
                    spec, seed};
  cpu::sample_masks(a, nullptr);
  return out;
}

void test_sample_masks() {
  const int64_t D = 5, T = 8, cells = D * T;
  std::vector<int64_t> index;
  std::vector<int32_t> owners;
  for (int64_t i = 0; i < 200; ++i) {
    index.push_back(i * 1000003);
    owners.push_back(static_cast<int32_t>(i % cells));
  }
  for (int family = 0; family <= 4; ++family) {
    const MaskSpec spec{static_cast<Family>(family), D, T, 2, 4, 1, 3, 0.4};
    const auto out = sampled(spec, index, owners, 11);
    bool right = true;
    for (size_t l = 0; l < index.size(); ++l) {
      const uint8_t* m = &out[l * cells];
      const int64_t gone = std::count(m, m + cells, 0), d0 = owners[l] / T, t0 = owners[l] % T;
      right = right && gone + std::count(m, m + cells, 1) == cells;
      const MaskDraw drawn = draw_mask(spec, 11, static_cast<uint32_t>(index[l]), static_cast<uint32_t>(owners[l]));
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

void test_shift_windows() {
  const int64_t L = 3, W = 5, D = 2, T = 4;
  std::vector<uint8_t> masks(L * D * T), out(L * W * D * T, 0xAA);
  for (auto& m : masks) m = static_cast<uint8_t>(pick(0, 1));
  const std::vector<int32_t> room{0, 2, 4};
  cpu::shift_windows({out.data(), masks.data(), room.data(), L, W, D, T}, nullptr);
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

// ---- draws ------------------------------------------------------------------------------------------------------------

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
    cpu::draw(a, nullptr);
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

// ---- masked batches -----------------------------------------------------------------------------------------------------

template <int N>
void set_strides(int64_t (&to)[N], const std::vector<int64_t>& from) {
  std::copy(from.begin(), from.end(), to);
}

std::vector<int64_t> packed(std::vector<int64_t> sizes, bool features_last) {
  const size_t n = sizes.size();
  std::vector<int64_t> strides(n);
  std::vector<size_t> order;  // innermost first
  for (size_t i = 0; i < n; ++i) order.push_back(n - 1 - i);
  if (features_last) std::swap(order[0], order[1]);
  int64_t stride = 1;
  for (const size_t i : order) {
    strides[i] = stride;
    stride *= sizes[i];
  }
  return strides;
}

struct BatchCase {
  int64_t n = 12, w = 4, B = 2, D = 3, T = 6, K = 2, M = 3;
  std::vector<Row> rows;
  int64_t P = 3;
  std::vector<double> x, draws, runs;  // dense, in the order of their dimensions
  std::vector<uint8_t> masks, observed;

  BatchCase() : x(B * D * T), draws(K * B * D * T), runs(K * B * D * T * P), masks(M * D * T), observed(B * D * T) {
    for (auto& v : x) v = 1 + real();
    for (auto& v : runs) v = 3 + real();
    for (auto& v : draws) v = -1 - real();
    for (auto& m : masks) m = static_cast<uint8_t>(pick(0, 1));
    for (auto& m : observed) m = static_cast<uint8_t>(pick(0, 3) > 0);
    for (int64_t i = 0; i < n; ++i) {
      Row r{};
      r.series = static_cast<int32_t>(pick(0, B - 1));
      r.draw = static_cast<int32_t>(pick(0, K - 1));
      r.mask = static_cast<int32_t>(pick(0, M - 1));
      r.cell = static_cast<int32_t>(pick(-1, D * T - 1));
      r.start = static_cast<int32_t>(pick(0, T - w));
      rows.push_back(r);
    }
  }

  bool usable(const Row& r, bool with_observed, int64_t d, int64_t t, bool* missing) const {
    *missing = with_observed && observed[(r.series * D + d) * T + t] == 0;
    return (masks[(r.mask * D + d) * T + t] != 0) != (r.cell == d * T + t);
  }

  double expected(int64_t i, int64_t d, int64_t j, Fill fill, bool with_observed, bool noise) const {
    const Row& r = rows[i];
    const int64_t t = r.start + j;
    const double* line = &x[(r.series * D + d) * T];
    bool missing = false;
    if (usable(r, with_observed, d, t, &missing) || missing) return line[t];
    const double drawn = draws[((r.draw * B + r.series) * D + d) * T + t];
    if (fill == Fill::kFixed) return drawn;
    if (fill == Fill::kRuns) {
      int64_t start = t;
      while (start > 0 && !usable(r, with_observed, d, start - 1, &missing) && !missing) --start;
      return runs[((((r.draw * B + r.series) * D + d) * T) + start) * P + std::min(t - start, P - 1)];
    }
    int64_t before = -1, after = -1;
    for (int64_t s = 0; s < T; ++s)
      if (usable(r, with_observed, d, s, &missing) && !missing) {
        if (s < t) before = s;
        if (s > t && after < 0) after = s;
      }
    double value = 0;
    if (before >= 0 && (after < 0 || fill == Fill::kCarryForward)) value = line[before];
    else if (before < 0) value = after < 0 ? 0 : line[after];
    else value = line[before] + (line[after] - line[before]) * (double(t - before) / double(after - before));
    return noise ? value + drawn : value;
  }
};

// Buffers of the case's tensors under the given strides, the kernel, and the comparison.
template <typename T>
bool batch_agrees(const BatchCase& c, Dtype dtype, Fill fill, bool with_observed, bool noise, const std::vector<int64_t>& so,
                  const std::vector<int64_t>& sx, const std::vector<int64_t>& sd, const std::vector<int64_t>& sm,
                  std::vector<int64_t> sr = {}) {
  if (sr.empty()) sr = packed({c.K, c.B, c.D, c.T, c.P}, false);
  const auto room = [](std::vector<int64_t> sizes, const std::vector<int64_t>& strides) {
    int64_t last = 1;
    for (size_t i = 0; i < sizes.size(); ++i) last += (sizes[i] - 1) * strides[i];
    return last;
  };
  const auto store = [](double v) {  // two bytes hold a count, as bits
    return sizeof(T) == 2 ? static_cast<T>(v * 1000) : static_cast<T>(v);
  };
  Sparse out(room({c.n, c.D, c.w}, so) * sizeof(T)), x(room({c.B, c.D, c.T}, sx) * sizeof(T));
  Sparse draws(room({c.K, c.B, c.D, c.T}, sd) * sizeof(T));
  Sparse runs(room({c.K, c.B, c.D, c.T, c.P}, sr) * sizeof(T));
  Sparse masks(room({c.M, c.D, c.T}, sm)), observed(room({c.B, c.D, c.T}, sm));
  for (int64_t d = 0; d < c.D; ++d)
    for (int64_t t = 0; t < c.T; ++t) {
      for (int64_t b = 0; b < c.B; ++b) {
        x.as<T>()[b * sx[0] + d * sx[1] + t * sx[2]] = store(c.x[(b * c.D + d) * c.T + t]);
        observed.as<uint8_t>()[b * sm[0] + d * sm[1] + t * sm[2]] = c.observed[(b * c.D + d) * c.T + t];
        for (int64_t k = 0; k < c.K; ++k) {
          const int64_t cell = ((k * c.B + b) * c.D + d) * c.T + t;
          draws.as<T>()[k * sd[0] + b * sd[1] + d * sd[2] + t * sd[3]] = store(c.draws[cell]);
          for (int64_t j = 0; j < c.P; ++j)
            runs.as<T>()[k * sr[0] + b * sr[1] + d * sr[2] + t * sr[3] + j * sr[4]] = store(c.runs[cell * c.P + j]);
        }
      }
      for (int64_t m = 0; m < c.M; ++m) masks.as<uint8_t>()[m * sm[0] + d * sm[1] + t * sm[2]] = c.masks[(m * c.D + d) * c.T + t];
    }
  MaskedBatchArgs a{};
  a.out = out.as<T>();
  a.x = x.as<T>();
  a.draws = fill == Fill::kFixed || noise ? draws.as<T>() : nullptr;
  a.runs = fill == Fill::kRuns ? runs.as<T>() : nullptr;
  a.masks = masks.as<uint8_t>();
  a.observed = with_observed ? observed.as<uint8_t>() : nullptr;
  a.rows = c.rows.data();
  a.n = c.n, a.w = c.w, a.B = c.B, a.D = c.D, a.T = c.T, a.M = c.M, a.P = c.P;
  a.K = a.draws != nullptr || a.runs != nullptr ? c.K : 0;
  set_strides(a.runs_stride, sr);
  set_strides(a.out_stride, so);
  set_strides(a.x_stride, sx);
  set_strides(a.draws_stride, sd);
  set_strides(a.masks_stride, sm);
  set_strides(a.observed_stride, sm);
  a.dtype = dtype;
  a.fill = fill;
  cpu::masked_batch(a, nullptr);
  for (int64_t i = 0; i < c.n; ++i)
    for (int64_t d = 0; d < c.D; ++d)
      for (int64_t j = 0; j < c.w; ++j) {
        const T found = out.as<T>()[i * so[0] + d * so[1] + j * so[2]];
        const double expected = c.expected(i, d, j, fill, with_observed, noise);
        if (sizeof(T) == 2 ? found != store(expected) : !near(found, expected, sizeof(T) == 4 ? 1e-6 : 1e-14)) return false;
      }
  return true;
}

bool batch_agrees_in_every_type(const BatchCase& c, const std::vector<int64_t>& so, const std::vector<int64_t>& sx,
                                const std::vector<int64_t>& sd, const std::vector<int64_t>& sm, bool half_only = false) {
  bool right = true;
  for (const bool seen : {false, true}) {
    right = right && batch_agrees<int16_t>(c, Dtype::kHalf, Fill::kFixed, seen, false, so, sx, sd, sm);
    if (half_only) continue;
    right = right && batch_agrees<float>(c, Dtype::kFloat, Fill::kFixed, seen, false, so, sx, sd, sm);
    right = right && batch_agrees<double>(c, Dtype::kDouble, Fill::kFixed, seen, false, so, sx, sd, sm);
  }
  return right;
}

bool conditional_agrees(const BatchCase& c, const std::vector<int64_t>& so, const std::vector<int64_t>& sx,
                        const std::vector<int64_t>& sd, const std::vector<int64_t>& sm) {
  bool right = true;
  for (const bool seen : {false, true})
    for (const bool last : {false, true}) {
      const auto sr = packed({c.K, c.B, c.D, c.T, c.P}, last);
      right = right && batch_agrees<float>(c, Dtype::kFloat, Fill::kRuns, seen, false, so, sx, sd, sm, sr) &&
              batch_agrees<double>(c, Dtype::kDouble, Fill::kRuns, seen, false, so, sx, sd, sm, sr);
    }
  for (const Fill fill : {Fill::kCarryForward, Fill::kInterpolate})
    for (const bool seen : {false, true})
      for (const bool noise : {false, true})
        right = right && batch_agrees<float>(c, Dtype::kFloat, fill, seen, noise, so, sx, sd, sm) &&
                batch_agrees<double>(c, Dtype::kDouble, fill, seen, noise, so, sx, sd, sm);
  return right;
}

void test_masked_batch() {
  const BatchCase c;
  for (int bits = 0; bits < 16; ++bits) {  // each tensor in one of the two memory orders
    const auto so = packed({c.n, c.D, c.w}, bits & 1), sx = packed({c.B, c.D, c.T}, bits & 2);
    const auto sd = packed({c.K, c.B, c.D, c.T}, bits & 4), sm = packed({c.M, c.D, c.T}, bits & 8);
    CHECK(batch_agrees_in_every_type(c, so, sx, sd, sm));
    CHECK(conditional_agrees(c, so, sx, sd, sm));
  }
  BatchCase whole;  // rows of full length: one run of memory
  whole.w = whole.T;
  for (auto& r : whole.rows) r.start = 0;
  for (const bool last : {false, true})
    CHECK(batch_agrees_in_every_type(whole, packed({whole.n, whole.D, whole.w}, last), packed({whole.B, whole.D, whole.T}, last),
                                     packed({whole.K, whole.B, whole.D, whole.T}, last), packed({whole.M, whole.D, whole.T}, last)));
}

void test_masked_batch_beyond_int32() {
  BatchCase c;
  c.n = 3;
  c.rows.resize(3);
  c.rows[0].series = 1, c.rows[0].draw = 1, c.rows[0].mask = 2;
  // Elements 2^31 apart in each dimension but the innermost, then in the innermost too.
  const int64_t far = 2 * kGiga;
  const std::vector<int64_t> d3{far * 4, far, 1}, d4{far * 8, far * 4, far, 1};
  CHECK(batch_agrees_in_every_type(c, d3, d3, d4, d3, true));
  CHECK(batch_agrees<float>(c, Dtype::kFloat, Fill::kInterpolate, true, true, d3, d3, d4, d3));
  CHECK(batch_agrees<float>(c, Dtype::kFloat, Fill::kRuns, true, false, d3, d3, d4, d3, {far * 8, far * 4, far, 3, 1}));
  const std::vector<int64_t> t3{1, 3, far}, t4{2, 1, 4, far};
  CHECK(batch_agrees_in_every_type(c, {1, 8, far}, t3, t4, {1, 5, far}, true));
  CHECK(batch_agrees<float>(c, Dtype::kFloat, Fill::kCarryForward, true, true, {1, 8, far}, t3, t4, {1, 5, far}));
  CHECK(batch_agrees<float>(c, Dtype::kFloat, Fill::kRuns, true, false, {1, 8, far}, t3, t4, {1, 5, far}, {2, 1, 4, far, far * 8}));
}

void test_masked_batch_checks_rows() {
  const BatchCase c;
  std::vector<float> out(c.n * c.D * c.w, 5), x(c.B * c.D * c.T), draws(c.K * c.B * c.D * c.T);
  MaskedBatchArgs a{};
  a.out = out.data(), a.x = x.data(), a.draws = draws.data(), a.masks = c.masks.data();
  a.n = c.n, a.w = c.w, a.B = c.B, a.D = c.D, a.T = c.T, a.K = c.K, a.M = c.M;
  set_strides(a.out_stride, packed({c.n, c.D, c.w}, false));
  set_strides(a.x_stride, packed({c.B, c.D, c.T}, false));
  set_strides(a.draws_stride, packed({c.K, c.B, c.D, c.T}, false));
  set_strides(a.masks_stride, packed({c.M, c.D, c.T}, false));
  const int32_t most = std::numeric_limits<int32_t>::max(), least = std::numeric_limits<int32_t>::min();
  const auto bad = [&](int32_t Row::*field, int32_t value) {
    auto rows = c.rows;
    rows.back().*field = value;
    a.rows = rows.data();
    return throws([&] { cpu::masked_batch(a, nullptr); }) && std::count(out.begin(), out.end(), 5.0f) == c.n * c.D * c.w;
  };
  for (const int32_t v : {-1, 2, most, least}) CHECK(bad(&Row::series, v) && bad(&Row::draw, v));
  for (const int32_t v : {-1, 3, most, least}) CHECK(bad(&Row::mask, v) && bad(&Row::start, v));
  for (const int32_t v : {-2, 18, most, least}) CHECK(bad(&Row::cell, v));
  a.rows = c.rows.data();
  cpu::masked_batch(a, nullptr);
  CHECK(std::count(out.begin(), out.end(), 5.0f) == 0);
}

// ---- boxes ------------------------------------------------------------------------------------------------------------

struct BoxCase {
  int64_t n = 5, C = 2, Z = 3, Y = 4, X = 6;
  std::vector<Box> boxes;
  std::vector<int64_t> offsets{0};

  BoxCase() {
    const auto range = [](int32_t& from, int32_t& to, int64_t size) {
      from = static_cast<int32_t>(pick(0, size)), to = static_cast<int32_t>(pick(0, size));  // some are empty
    };
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t k = pick(0, 3); k > 0; --k) {
        Box b{};
        range(b.z0, b.z1, Z), range(b.y0, b.y1, Y), range(b.x0, b.x1, X);
        boxes.push_back(b);
      }
      offsets.push_back(static_cast<int64_t>(boxes.size()));
    }
  }
  bool kept(int64_t i, int64_t z, int64_t y, int64_t x) const {
    for (int64_t k = offsets[i]; k < offsets[i + 1]; ++k) {
      const Box& b = boxes[k];
      if (b.z0 <= z && z < b.z1 && b.y0 <= y && y < b.y1 && b.x0 <= x && x < b.x1) return true;
    }
    return false;
  }
};

template <typename T>
bool boxes_agree(const BoxCase& c, const BoxCase* before, const std::vector<int64_t>& so, const std::vector<int64_t>& sv) {
  int64_t room = 1, values_room = 1;
  const std::vector<int64_t> sizes{c.n, c.C, c.Z, c.Y, c.X};
  for (size_t i = 0; i < 5; ++i) room += (sizes[i] - 1) * so[i];
  for (size_t i = 0; i < 4; ++i) values_room += (sizes[i + 1] - 1) * sv[i];
  Sparse out(room * sizeof(T)), inside(values_room * sizeof(T)), outside(values_room * sizeof(T));
  const auto value = [&](int64_t ch, int64_t z, int64_t y, int64_t x, bool in) {
    return static_cast<T>((((ch * c.Z + z) * c.Y + y) * c.X + x) % 100 + (in ? 100 : 0));
  };
  const auto each = [&](auto f) {
    for (int64_t ch = 0; ch < c.C; ++ch)
      for (int64_t z = 0; z < c.Z; ++z)
        for (int64_t y = 0; y < c.Y; ++y)
          for (int64_t x = 0; x < c.X; ++x) f(ch, z, y, x, ch * sv[0] + z * sv[1] + y * sv[2] + x * sv[3]);
  };
  each([&](int64_t ch, int64_t z, int64_t y, int64_t x, int64_t at) {
    inside.as<T>()[at] = value(ch, z, y, x, true);
    outside.as<T>()[at] = value(ch, z, y, x, false);
  });
  BoxedBatchArgs a{};
  a.out = out.as<T>(), a.inside = inside.as<T>(), a.outside = outside.as<T>();
  a.n = c.n, a.C = c.C, a.Z = c.Z, a.Y = c.Y, a.X = c.X, a.bytes = sizeof(T);
  set_strides(a.out_stride, so);
  set_strides(a.inside_stride, sv);
  set_strides(a.outside_stride, sv);
  if (before != nullptr) {
    a.boxes = before->boxes.data(), a.offsets = before->offsets.data(), a.count = static_cast<int64_t>(before->boxes.size());
    cpu::boxed_batch(a, nullptr);
    a.stale_boxes = a.boxes, a.stale_offsets = a.offsets, a.stale_count = a.count, a.stale = before->n;
  }
  a.boxes = c.boxes.data(), a.offsets = c.offsets.data(), a.count = static_cast<int64_t>(c.boxes.size());
  cpu::boxed_batch(a, nullptr);
  bool right = true;
  for (int64_t i = 0; i < c.n; ++i)
    each([&](int64_t ch, int64_t z, int64_t y, int64_t x, int64_t) {
      const T found = out.as<T>()[i * so[0] + ch * so[1] + z * so[2] + y * so[3] + x * so[4]];
      right = right && found == value(ch, z, y, x, c.kept(i, z, y, x));
    });
  return right;
}

void test_boxed_batch() {
  for (int round = 0; round < 20; ++round) {
    const BoxCase c, before;
    for (const bool last : {false, true}) {
      const auto so = packed({c.n, c.C, c.Z, c.Y, c.X}, last), sv = packed({c.C, c.Z, c.Y, c.X}, !last);
      for (const BoxCase* stale : {static_cast<const BoxCase*>(nullptr), &before})
        CHECK(boxes_agree<uint8_t>(c, stale, so, sv) && boxes_agree<uint16_t>(c, stale, so, sv) &&
              boxes_agree<float>(c, stale, so, sv) && boxes_agree<double>(c, stale, so, sv));
    }
    CHECK(boxes_agree<float>(c, &before, packed({c.n, c.C, c.Z, c.Y, c.X}, false), packed({c.C, c.Z, c.Y, c.X}, false)));
  }
}

void test_boxed_batch_beyond_int32() {
  const BoxCase c, before;
  const int64_t far = 2 * kGiga;
  CHECK(boxes_agree<uint8_t>(c, &before, {far * 4, far * 2, 64, 8, 1}, {far, 64, 8, 1}));
  CHECK(boxes_agree<uint16_t>(c, nullptr, {1, 8, 64, 512, far}, {1, 2, far, 16}));
}

// ---- distances and scores -------------------------------------------------------------------------------------------------

double twin_distance(Metric metric, const std::vector<double>& p, const std::vector<double>& q, int64_t target) {
  const auto log_ratio = [](double a, double b) { return a * (std::log(a) - std::log(b)); };
  double pd = 0, l2 = 0, kl = 0, js = 0;
  for (size_t c = 0; c < p.size(); ++c) {
    const double a = std::max(p[c], 1e-12), b = std::max(q[c], 1e-12), m = (a + b) / 2;
    pd += std::fabs(p[c] - q[c]);
    l2 += (p[c] - q[c]) * (p[c] - q[c]);
    kl += log_ratio(a, b);
    js += 0.5 * (log_ratio(a, m) + log_ratio(b, m));
  }
  return metric == Metric::kPd ? pd : metric == Metric::kL2 ? std::sqrt(l2) : metric == Metric::kKl ? kl
         : metric == Metric::kJs ? js : p[target] - q[target];
}

// Answers (n, C, K) and originals (B, C, T) in memory under the given strides.
template <typename T>
struct Answers {
  int64_t n, C, K, B, steps;
  std::vector<int64_t> so, sr;
  Sparse outputs, reference;
  std::vector<int64_t> target;

  Answers(int64_t n_, int64_t C_, int64_t K_, int64_t B_, int64_t steps_, std::vector<int64_t> so_, std::vector<int64_t> sr_)
      : n(n_), C(C_), K(K_), B(B_), steps(steps_), so(so_), sr(sr_),
        outputs(((n - 1) * so[0] + (C - 1) * so[1] + (K - 1) * so[2] + 1) * static_cast<int64_t>(sizeof(T))),
        reference(((B - 1) * sr[0] + (C - 1) * sr[1] + (steps - 1) * sr[2] + 1) * static_cast<int64_t>(sizeof(T))) {
    for (int64_t i = 0; i < n; ++i)
      for (int64_t c = 0; c < C; ++c)
        for (int64_t k = 0; k < K; ++k) *output(i, c, k) = static_cast<T>(real());
    for (int64_t b = 0; b < B; ++b) {
      target.push_back(pick(0, C - 1));
      for (int64_t c = 0; c < C; ++c)
        for (int64_t t = 0; t < steps; ++t) *original(b, c, t) = static_cast<T>(real());
    }
  }
  T* output(int64_t i, int64_t c, int64_t k) { return outputs.template as<T>() + i * so[0] + c * so[1] + k * so[2]; }
  T* original(int64_t b, int64_t c, int64_t t) { return reference.template as<T>() + b * sr[0] + c * sr[1] + t * sr[2]; }
  double distance(Metric metric, int64_t i, int64_t k, int64_t b, int64_t t) {
    std::vector<double> p, q;
    for (int64_t c = 0; c < C; ++c) {
      p.push_back(*original(b, c, t));
      q.push_back(*output(i, c, k));
    }
    return twin_distance(metric, p, q, target[b]);
  }
};

template <typename T>
void check_distance(Dtype dtype, std::vector<int64_t> so, std::vector<int64_t> sr) {
  Answers<T> s(3, 3, 4, 2, 4, so, sr);
  const std::vector<int32_t> series{1, 0, 1};
  bool right = true;
  for (int metric = 0; metric <= 4; ++metric) {
    std::vector<double> out(s.n * s.K, -7);
    DistanceArgs a{};
    a.out = out.data(), a.outputs = s.outputs.template as<T>(), a.reference = s.reference.template as<T>();
    a.series = series.data(), a.target = s.target.data(), a.n = s.n, a.C = s.C, a.K = s.K, a.B = s.B;
    set_strides(a.outputs_stride, so);
    set_strides(a.reference_stride, sr);
    a.dtype = dtype, a.metric = static_cast<Metric>(metric);
    cpu::distance(a, nullptr);
    for (int64_t i = 0; i < s.n; ++i)
      for (int64_t k = 0; k < s.K; ++k) right = right && near(out[i * s.K + k], s.distance(a.metric, i, k, series[i], k));
    for (const int32_t outside : {-1, 2}) {
      const std::vector<int32_t> wrong{1, 0, outside};
      a.series = wrong.data();
      right = right && throws([&] { cpu::distance(a, nullptr); });
    }
  }
  CHECK(right);
}

template <typename T>
void check_score(Dtype dtype, std::vector<int64_t> so, std::vector<int64_t> sr) {
  const int64_t M = 2, S = 2, B = 2, D = 2, steps = 5, C = 3, width = 4, K = 3, cells = D * steps, n = 3;
  Answers<T> s(n, C, K, B, steps, so, sr);
  std::vector<double> base(M * S * B * steps);
  for (auto& v : base) v = real();
  std::vector<uint8_t> masks(M * cells);
  for (auto& m : masks) m = static_cast<uint8_t>(pick(0, 1));
  std::vector<Row> rows(n);
  for (int64_t i = 0; i < n; ++i) {
    Row& r = rows[i];
    r.cell = static_cast<int32_t>(pick(0, cells - 1));
    r.slot = static_cast<int32_t>((2 * i + 1) * cells + r.cell);
    r.mask = static_cast<int32_t>(r.slot / cells / (S * B));
    r.series = static_cast<int32_t>(r.slot / cells % B);
    r.start = static_cast<int32_t>(pick(0, steps - width));
    r.horizon = r.start + static_cast<int32_t>(width - K + pick(0, K));
    r.norm = 4;
  }
  bool right = true;
  for (int metric = 0; metric <= 4; ++metric)
    for (int reduce = 0; reduce <= 1; ++reduce) {
      std::vector<double> found(M * S * B * cells, 0.01);
      ScoreArgs a{};
      a.contributions = found.data(), a.outputs = s.outputs.template as<T>(), a.reference = s.reference.template as<T>();
      a.base = base.data(), a.masks = masks.data(), a.rows = rows.data(), a.target = s.target.data();
      a.n = n, a.C = C, a.K = K, a.T = steps, a.width = width, a.slots_per_base = cells, a.cells = cells, a.series = B;
      a.masks_count = M, a.slots = static_cast<int64_t>(found.size());
      set_strides(a.outputs_stride, so);
      set_strides(a.reference_stride, sr);
      a.dtype = dtype, a.metric = static_cast<Metric>(metric), a.reduce = static_cast<Reduce>(reduce);
      cpu::score(a, nullptr);
      for (int64_t i = 0; i < n; ++i) {
        const Row& r = rows[i];
        double expected = 0.01;
        for (int64_t h = r.horizon; h < r.start + width; ++h) {
          const double flipped = s.distance(a.metric, i, h - (r.start + width - K), r.series, h);
          const double unflipped = base[r.slot / cells * steps + h];
          const double change = masks[r.mask * cells + r.cell] != 0 ? flipped - unflipped : unflipped - flipped;
          expected = reduce == 0 ? expected + change / 4 : std::fabs(change) > std::fabs(expected) ? change : expected;
        }
        right = right && near(found[r.slot], expected);
      }
      right = right && std::count(found.begin(), found.end(), 0.01) >= static_cast<int64_t>(found.size()) - n;
    }
  CHECK(right);
}

void test_distance_and_score() {
  for (const bool last : {false, true}) {
    check_distance<float>(Dtype::kFloat, packed({3, 3, 4}, last), packed({2, 3, 4}, !last));
    check_distance<double>(Dtype::kDouble, packed({3, 3, 4}, last), packed({2, 3, 4}, last));
    check_score<float>(Dtype::kFloat, packed({3, 3, 3}, last), packed({2, 3, 5}, last));
    check_score<double>(Dtype::kDouble, packed({3, 3, 3}, last), packed({2, 3, 5}, !last));
  }
  const int64_t far = 2 * kGiga;
  const std::vector<int64_t> rows{far * 4, far, 1}, steps{1, 3, far};
  check_distance<float>(Dtype::kFloat, rows, steps);
  check_distance<float>(Dtype::kFloat, steps, rows);
  check_score<float>(Dtype::kFloat, rows, steps);
  check_score<float>(Dtype::kFloat, steps, rows);
}

void test_score_checks_rows() {
  std::vector<double> contributions(8, 0.5), base(2 * 4);
  std::vector<float> outputs(2 * 2), reference(2 * 4);
  const std::vector<uint8_t> masks(4, 1);
  const std::vector<int64_t> target(1, 0);
  ScoreArgs a{};  // one mask, two draws, one series, one feature, four steps
  a.contributions = contributions.data(), a.outputs = outputs.data(), a.reference = reference.data(), a.base = base.data();
  a.masks = masks.data(), a.target = target.data();
  a.n = 1, a.C = 2, a.K = 2, a.T = 4, a.width = 3, a.slots_per_base = 4, a.cells = 4, a.series = 1, a.masks_count = 1, a.slots = 8;
  set_strides(a.outputs_stride, {4, 2, 1});
  set_strides(a.reference_stride, {8, 4, 1});
  const int32_t most = std::numeric_limits<int32_t>::max(), least = std::numeric_limits<int32_t>::min();
  const auto bad = [&](int32_t Row::*field, int32_t value) {
    Row row{0, 0, 0, 3, 1, 3, 1, 7, 0};
    row.*field = value;
    a.rows = &row;
    return throws([&] { cpu::score(a, nullptr); }) && std::count(contributions.begin(), contributions.end(), 0.5) == 8;
  };
  for (const int32_t v : {-1, 1, most, least}) CHECK(bad(&Row::series, v) && bad(&Row::mask, v));
  for (const int32_t v : {-1, 4, most, least}) CHECK(bad(&Row::cell, v));
  for (const int32_t v : {-1, 8, most, least}) CHECK(bad(&Row::slot, v));
  for (const int32_t v : {-1, 2, most, least}) CHECK(bad(&Row::start, v));
  for (const int32_t v : {-1, 1, least}) CHECK(bad(&Row::horizon, v));
  for (const int32_t v : {0, -1, least}) CHECK(bad(&Row::norm, v));
}

void test_accumulate() {
  const int64_t M = 5, S = 2, B = 2, cells = 3;
  const std::vector<int32_t> unit{0, 0, 2, 3, 3}, own{1, 1, 0, 2, 2};
  const std::vector<double> weight{0.25, 0.75, 1, 0.5, 0.5}, unit_weight{2, 2, 1, 3, 3}, count{1, 1, 4, 2, 2};
  for (const bool owned : {false, true}) {
    const int64_t slots = owned ? 1 : cells;
    std::vector<double> contributions(M * S * B * slots), sum(B * cells, 1), squares(B * cells, 2);
    for (auto& v : contributions) v = real() - 0.5;
    auto expected_sum = sum, expected_squares = squares;
    for (int64_t b = 0; b < B; ++b)
      for (int64_t k = 0; k < slots; ++k)
        for (const auto& members : std::vector<std::vector<int64_t>>{{0, 1}, {2}, {3, 4}}) {
          double value = 0;
          for (const int64_t m : members)
            for (int64_t s = 0; s < S; ++s) value += weight[m] * contributions[((m * S + s) * B + b) * slots + k] / S;
          const int64_t m = members[0], cell = b * cells + (owned ? own[m] : k);
          expected_sum[cell] += unit_weight[m] * value;
          expected_squares[cell] += count[m] * value * value;
        }
    cpu::accumulate({sum.data(), squares.data(), contributions.data(), unit.data(), weight.data(), unit_weight.data(),
                     count.data(), owned ? own.data() : nullptr, M, S, B, slots, cells},
                    nullptr);
    bool right = true;
    for (int64_t i = 0; i < B * cells; ++i) right = right && near(sum[i], expected_sum[i]) && near(squares[i], expected_squares[i]);
    CHECK(right);
  }
}

// ---- recurrent steps: elements side by side, strided, and further apart than 2^31 -------------------------------------------

template <typename T>
void check_gru_step(Dtype dtype, double tolerance, int64_t n, int64_t H, int64_t row, int64_t unit) {
  const auto room = [&](int64_t columns) { return ((n - 1) * row + (columns - 1) * unit + 1) * static_cast<int64_t>(sizeof(T)); };
  Sparse out(room(H)), input(room(3 * H)), hidden(room(3 * H)), state(room(H));
  std::vector<T> input_bias(3 * H), hidden_bias(3 * H);
  for (auto* bias : {&input_bias, &hidden_bias})
    for (auto& v : *bias) v = static_cast<T>(2 * real() - 1);
  const auto at = [&](Sparse& s, int64_t i, int64_t j) -> T& { return s.as<T>()[i * row + j * unit]; };
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < 3 * H; ++j) {
      at(input, i, j) = static_cast<T>(8 * real() - 4);
      at(hidden, i, j) = static_cast<T>(8 * real() - 4);
      if (j < H) at(state, i, j) = static_cast<T>(2 * real() - 1);
    }
  cpu::gru_step({out.as<T>(), input.as<T>(), hidden.as<T>(), input_bias.data(), hidden_bias.data(), state.as<T>(), n, H,
                 {row, unit}, {row, unit}, {row, unit}, {row, unit}, dtype}, nullptr);
  const auto sigma = [](double x) { return 1 / (1 + std::exp(-x)); };
  bool right = true;
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < H; ++j) {
      double x[3], h[3];
      for (int64_t k = 0; k < 3; ++k) {
        x[k] = static_cast<double>(at(input, i, k * H + j)) + input_bias[k * H + j];
        h[k] = static_cast<double>(at(hidden, i, k * H + j)) + hidden_bias[k * H + j];
      }
      const double update = sigma(x[1] + h[1]), proposed = std::tanh(x[2] + sigma(x[0] + h[0]) * h[2]);
      right = right && near(at(out, i, j), (1 - update) * proposed + update * at(state, i, j), tolerance);
    }
  CHECK(right);
}

void test_gru_step() {
  for (const int64_t H : {1, 7, 8, 33, 64}) {
    check_gru_step<float>(Dtype::kFloat, 2e-6, 3, H, 3 * H, 1);
    check_gru_step<float>(Dtype::kFloat, 2e-6, 3, H, 1, 3);
    check_gru_step<double>(Dtype::kDouble, 1e-13, 3, H, 3 * H, 1);
  }
  check_gru_step<float>(Dtype::kFloat, 2e-6, 2, 9, 3 * kGiga, 1);
  check_gru_step<double>(Dtype::kDouble, 1e-13, 2, 2, 1, kGiga);
}

// ---- offsets beyond int32 in the contiguous kernels: their last item alone --------------------------------------------------

void test_offsets_beyond_int32() {
  {
    Sparse memory(9 * kGiga);
    const View<char, 3> view{memory.as<char>(), {3 * kGiga, kGiga, 1}};
    CHECK(view.at(2, 2, 5) - view.data == 8 * kGiga + 5);
  }
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

  cpu::only_last = true;
  {
    const int64_t L = kGiga / 2, D = 4, T = 4;
    Sparse out(L * D * T), index(L * 8), owners(L * 4);
    index.as<int64_t>()[L - 1] = 77;
    owners.as<int32_t>()[L - 1] = 5;
    const MaskSpec spec{Family::kBernoulli, D, T, 1, 1, 1, 1, 0.5};
    cpu::sample_masks({out.as<uint8_t>(), owners.as<int32_t>(), index.as<int64_t>(), L, spec, 3}, nullptr);
    const auto expected = sampled(spec, {77}, {5}, 3);
    CHECK(std::equal(expected.begin(), expected.end(), out.as<uint8_t>() + (L - 1) * D * T));
  }
  {
    const int64_t L = kGiga / 4, W = 2, D = 4, T = 4;
    Sparse out(L * W * D * T), masks(L * D * T), room(L * 4);
    std::memset(masks.as<uint8_t>() + (L - 1) * D * T, 1, D * T - 2);
    room.as<int32_t>()[L - 1] = 1;
    cpu::shift_windows({out.as<uint8_t>(), masks.as<uint8_t>(), room.as<int32_t>(), L, W, D, T}, nullptr);
    const uint8_t* last = out.as<uint8_t>() + (L * W - 1) * D * T;
    CHECK(std::count(last, last + D * T, 1) == D * T - 1 && last[D * T - 1] == 0);
  }
  {
    const int64_t S = 1 << 15, B = 1 << 14, D = 4, T = 4;
    Sparse out(S * B * D * T * 4);
    std::vector<int64_t> many(B, 3);
    many.back() = 9;
    DrawArgs a{out.as<float>(), nullptr, many.data(), S, B, D, T, 0, 0, 0, Dtype::kFloat, Draw::kUniform, 1, 2, 4};
    cpu::draw(a, nullptr);
    const uint64_t bits = word64(philox(4, Stream::kDraw, 3, 3, 9, static_cast<uint32_t>(S - 1)), 0);
    CHECK(out.as<float>()[S * B * D * T - 1] == static_cast<float>(1 + unit(bits)));
  }
  {
    const int64_t M = 2, S = 2, B = 2, slots = kGiga;
    Sparse sum(B * slots * 8), squares(B * slots * 8), contributions(M * S * B * slots * 8);
    const std::vector<int32_t> unit{0, 1};
    const std::vector<double> one{1, 1};
    for (int64_t i = 0; i < M * S; ++i) contributions.as<double>()[(i * B + B) * slots - 1] = static_cast<double>(i);
    cpu::accumulate({sum.as<double>(), squares.as<double>(), contributions.as<double>(), unit.data(), one.data(), one.data(),
                     one.data(), nullptr, M, S, B, slots, slots},
                    nullptr);
    CHECK(sum.as<double>()[B * slots - 1] == 3.0 && squares.as<double>()[B * slots - 1] == 0.25 + 6.25);
  }
  cpu::only_last = false;
  {
    const int64_t slots = 2 * kGiga - 1, T = 4;  // slots are int32 in a row, what they lead to is not
    Sparse contributions(slots * 8), base(slots * T * 8), masks(4 * kGiga);
    const std::vector<float> outputs{0.25}, reference{1, 1, 1, 1};
    const std::vector<int64_t> target{0};
    const Row row{0, 0, 3, static_cast<int32_t>(kGiga - 1), 3, 3, 1, static_cast<int32_t>(slots - 1), 0};
    base.as<double>()[slots * T - 1] = 0.5;
    masks.as<uint8_t>()[4 * kGiga - 1] = 1;
    ScoreArgs a{};
    a.contributions = contributions.as<double>(), a.outputs = outputs.data(), a.reference = reference.data();
    a.base = base.as<double>(), a.masks = masks.as<uint8_t>(), a.rows = &row, a.target = target.data();
    a.n = 1, a.C = 1, a.K = 1, a.T = T, a.width = 1, a.slots_per_base = 1, a.cells = kGiga, a.series = 1, a.masks_count = 4;
    a.slots = slots;
    set_strides(a.outputs_stride, {1, 1, 1});
    set_strides(a.reference_stride, {4, 4, 1});
    cpu::score(a, nullptr);
    CHECK(contributions.as<double>()[slots - 1] == 0.25);
  }
}

// ---- the plan -----------------------------------------------------------------------------------------------------------

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
        if (!s.own_cell.empty() && s.own_cell[m] != cell) continue;
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
              const int64_t slot = s.own_cell.empty() ? base * s.D * s.T + cell : base;
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
  if (pick(0, 1)) s.own_cell = random_times(s.M, 0, s.D * s.T - 1);
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
    FlipPlan plan(s);
    counted = counted && plan.rows() == static_cast<int64_t>(expected.size()) && plan.row_steps() == steps;
    for (const int64_t limit : {1, 7, 1000}) {
      std::vector<Row> chunk(limit);
      std::vector<Planned> found;
      int64_t width = 0;
      plan.reset();
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

int main() {
  const std::vector<std::pair<const char*, std::function<void()>>> tests{
      {"philox", test_philox},
      {"numbers", test_numbers},
      {"sample_masks", test_sample_masks},
      {"ranks", test_ranks},
      {"shift_windows", test_shift_windows},
      {"draw, float", [] { test_draw<float>(Dtype::kFloat); }},
      {"draw, double", [] { test_draw<double>(Dtype::kDouble); }},
      {"masked_batch", test_masked_batch},
      {"masked_batch checks rows", test_masked_batch_checks_rows},
      {"boxed_batch", test_boxed_batch},
      {"boxed_batch beyond int32", test_boxed_batch_beyond_int32},
      {"distance and score", test_distance_and_score},
      {"score checks rows", test_score_checks_rows},
      {"accumulate", test_accumulate},
      {"gru_step", test_gru_step},
      {"masked_batch beyond int32", test_masked_batch_beyond_int32},
      {"offsets beyond int32", test_offsets_beyond_int32},
      {"flip plan", test_flip_plan},
  };
  for (const int64_t chunk : {int64_t{1} << 30, int64_t{1}}) {  // in one piece, and item by item as many threads would
    cpu::chunk = chunk;
    for (const auto& [name, test] : tests) {
      try {
        test();
      } catch (const std::exception& error) {
        ++failed;
        std::printf("%s: %s\n", name, error.what());
      }
    }
  }
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed == 0 ? 0 : 1;
}
