// The types of floating values.
#pragma once

#include <cstdint>

namespace rambit {

enum class Dtype : int32_t { kFloat = 0, kDouble = 1, kHalf = 2, kBFloat16 = 3 };

constexpr int bytes_of(Dtype dtype) { return dtype == Dtype::kDouble ? 8 : dtype == Dtype::kFloat ? 4 : 2; }

// Whether kernels compute in this type; the others are only moved.
constexpr bool computes(Dtype dtype) { return dtype == Dtype::kFloat || dtype == Dtype::kDouble; }

}  // namespace rambit
