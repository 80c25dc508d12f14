// The types of floating values.
#pragma once

#include <cstdint>

namespace rambit {

// What kernels compute in. (Series of half precision are widened before they come here.)
enum class Dtype : int32_t { kFloat = 0, kDouble = 1 };

}  // namespace rambit
