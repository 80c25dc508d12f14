// Masked batches: every fill and memory order, strides beyond 2^31, rows that point outside.
#include "check.h"
#include <cstring>

namespace rambit {
namespace {

struct BatchCase {
  int64_t n = 12, w = 4, B = 2, D = 3, T = 6, K = 2, M = 3;
  std::vector<Row> rows;
  int64_t P = 3;
  std::vector<double> x, draws, windows;  // dense, in the order of their dimensions
  std::vector<uint8_t> masks, observed;

  BatchCase() : x(B * D * T), draws(K * B * D * T), windows(K * B * D * T * P), masks(M * D * T), observed(B * D * T) {
    for (auto& v : x) v = 1 + real();
    for (auto& v : windows) v = 3 + real();
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
    if (fill == Fill::kWindows) {
      int64_t start = t;
      while (start > 0 && !usable(r, with_observed, d, start - 1, &missing) && !missing) --start;
      return windows[((((r.draw * B + r.series) * D + d) * T) + start) * P + std::min(t - start, P - 1)];
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
  Sparse out(room({c.n, c.D, c.w}, so) * sizeof(T)), x(room({c.B, c.D, c.T}, sx) * sizeof(T));
  Sparse draws(room({c.K, c.B, c.D, c.T}, sd) * sizeof(T));
  Sparse windows(room({c.K, c.B, c.D, c.T, c.P}, sr) * sizeof(T));
  Sparse masks(room({c.M, c.D, c.T}, sm)), observed(room({c.B, c.D, c.T}, sm));
  for (int64_t d = 0; d < c.D; ++d)
    for (int64_t t = 0; t < c.T; ++t) {
      for (int64_t b = 0; b < c.B; ++b) {
        x.as<T>()[b * sx[0] + d * sx[1] + t * sx[2]] = static_cast<T>(c.x[(b * c.D + d) * c.T + t]);
        observed.as<uint8_t>()[b * sm[0] + d * sm[1] + t * sm[2]] = c.observed[(b * c.D + d) * c.T + t];
        for (int64_t k = 0; k < c.K; ++k) {
          const int64_t cell = ((k * c.B + b) * c.D + d) * c.T + t;
          draws.as<T>()[k * sd[0] + b * sd[1] + d * sd[2] + t * sd[3]] = static_cast<T>(c.draws[cell]);
          for (int64_t j = 0; j < c.P; ++j)
            windows.as<T>()[k * sr[0] + b * sr[1] + d * sr[2] + t * sr[3] + j * sr[4]] =
                static_cast<T>(c.windows[cell * c.P + j]);
        }
      }
      for (int64_t m = 0; m < c.M; ++m) masks.as<uint8_t>()[m * sm[0] + d * sm[1] + t * sm[2]] = c.masks[(m * c.D + d) * c.T + t];
    }
  MaskedBatchArgs a{};
  a.out = out.as<T>();
  a.x = x.as<T>();
  a.draws = fill == Fill::kFixed || noise ? draws.as<T>() : nullptr;
  a.windows = fill == Fill::kWindows ? windows.as<T>() : nullptr;
  a.masks = masks.as<uint8_t>();
  a.observed = with_observed ? observed.as<uint8_t>() : nullptr;
  a.rows = c.rows.data();
  a.n = c.n, a.w = c.w, a.B = c.B, a.D = c.D, a.T = c.T, a.M = c.M, a.P = c.P;
  a.K = a.draws != nullptr || a.windows != nullptr ? c.K : 0;
  set_strides(a.windows_stride, sr);
  set_strides(a.out_stride, so);
  set_strides(a.x_stride, sx);
  set_strides(a.draws_stride, sd);
  set_strides(a.masks_stride, sm);
  set_strides(a.observed_stride, sm);
  a.dtype = dtype;
  a.fill = fill;
  kernels.masked_batch(a, nullptr);
  for (int64_t i = 0; i < c.n; ++i)
    for (int64_t d = 0; d < c.D; ++d)
      for (int64_t j = 0; j < c.w; ++j) {
        const T found = out.as<T>()[i * so[0] + d * so[1] + j * so[2]];
        const double expected = c.expected(i, d, j, fill, with_observed, noise);
        if (!near(found, expected, sizeof(T) == 4 ? 1e-6 : 1e-14)) return false;
      }
  return true;
}

bool fixed_agrees(const BatchCase& c, const std::vector<int64_t>& so, const std::vector<int64_t>& sx,
                  const std::vector<int64_t>& sd, const std::vector<int64_t>& sm) {
  bool right = true;
  for (const bool seen : {false, true}) {
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
      right = right && batch_agrees<float>(c, Dtype::kFloat, Fill::kWindows, seen, false, so, sx, sd, sm, sr) &&
              batch_agrees<double>(c, Dtype::kDouble, Fill::kWindows, seen, false, so, sx, sd, sm, sr);
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
    CHECK(fixed_agrees(c, so, sx, sd, sm));
    CHECK(conditional_agrees(c, so, sx, sd, sm));
  }
  BatchCase whole;  // rows of full length: one run of memory
  whole.w = whole.T;
  for (auto& r : whole.rows) r.start = 0;
  for (const bool last : {false, true})
    CHECK(fixed_agrees(whole, packed({whole.n, whole.D, whole.w}, last), packed({whole.B, whole.D, whole.T}, last),
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
  CHECK(fixed_agrees(c, d3, d3, d4, d3));
  CHECK(batch_agrees<float>(c, Dtype::kFloat, Fill::kInterpolate, true, true, d3, d3, d4, d3));
  CHECK(batch_agrees<float>(c, Dtype::kFloat, Fill::kWindows, true, false, d3, d3, d4, d3,
                            {far * 8, far * 4, far, 3, 1}));
  const std::vector<int64_t> t3{1, 3, far}, t4{2, 1, 4, far};
  CHECK(fixed_agrees(c, {1, 8, far}, t3, t4, {1, 5, far}));
  CHECK(batch_agrees<float>(c, Dtype::kFloat, Fill::kCarryForward, true, true, {1, 8, far}, t3, t4, {1, 5, far}));
  CHECK(batch_agrees<float>(c, Dtype::kFloat, Fill::kWindows, true, false, {1, 8, far}, t3, t4, {1, 5, far},
                            {2, 1, 4, far, far * 8}));
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
    return throws([&] { kernels.masked_batch(a, nullptr); }) && std::count(out.begin(), out.end(), 5.0f) == c.n * c.D * c.w;
  };
  for (const int32_t v : {-1, 2, most, least}) CHECK(bad(&Row::series, v) && bad(&Row::draw, v));
  for (const int32_t v : {-1, 3, most, least}) CHECK(bad(&Row::mask, v) && bad(&Row::start, v));
  for (const int32_t v : {-2, 18, most, least}) CHECK(bad(&Row::cell, v));
  a.rows = c.rows.data();
  kernels.masked_batch(a, nullptr);
  CHECK(std::count(out.begin(), out.end(), 5.0f) == 0);
}

}  // namespace

std::vector<Test> masked_batch_tests() {
  return {
      {"masked_batch", test_masked_batch, On::kEveryBackend},
      {"masked_batch checks rows", test_masked_batch_checks_rows, On::kCpu},
      {"masked_batch beyond int32", test_masked_batch_beyond_int32, On::kEveryBackend},
  };
}

}  // namespace rambit
