// What the glue of every op begins with. A `Backend` gives `guard(tensor)`, `stream(tensor)` and one function an op.
#pragma once

#include "../stable.h"

namespace rambit::glue {

// Before anything else: all tensors on the first one's device, which becomes the current one.
template <typename Backend>
auto enter(const char* op, std::initializer_list<Argument> arguments) {
  check_one_device(op, arguments);
  return Backend::guard(*arguments.begin()->tensor);
}

// The enumerator that a number from Python stands for.
template <typename Enum>
Enum enum_of(int64_t value, const char* message) {
  RAMBIT_CHECK(0 <= value && value <= static_cast<int64_t>(Enum::kLast), message);
  return static_cast<Enum>(value);
}

}  // namespace rambit::glue
