// All of torch that is used: parts of the LibTorch stable ABI. Nothing else includes torch.
#pragma once

#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Exception.h>
#include <torch/headeronly/util/Half.h>

#include <cmath>
#include <cstring>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

#include "common/dtype.h"

namespace rambit {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// Python has checked arguments already, with better words; this guards direct calls of torch.ops.rambit.
#define RAMBIT_CHECK(condition, message) STD_TORCH_CHECK(condition, "rambit: ", message)

struct Argument {
  const char* name;
  const Tensor* tensor;  // null where an optional one is not given

  Argument(const char* name_, const Tensor& given) : name(name_), tensor(&given) {}
  Argument(const char* name_, const std::optional<Tensor>& given) : name(name_), tensor(given.has_value() ? &*given : nullptr) {}
};

// The C functions say so when they fail. (torch's own macro for this has another name in every few releases.)
inline void check_call(AOTITorchError error) { STD_TORCH_CHECK(error == AOTI_TORCH_SUCCESS, "rambit: a call of torch failed"); }

using Place = std::pair<int32_t, int32_t>;  // type and index of a device

inline Place place_of(const Tensor& t) {
  Place place;
  check_call(aoti_torch_get_device_type(t.get(), &place.first));
  check_call(aoti_torch_get_device_index(t.get(), &place.second));
  return place;
}

inline std::string name_of(const Place& place) {
  if (place.first == aoti_torch_device_type_cpu()) return "the CPU";
  return place.first == aoti_torch_device_type_cuda() ? "cuda:" + std::to_string(place.second) : "another device";
}

// A kernel would follow the address of a tensor that lies elsewhere. (Python sees this one as a ValueError.)
inline void check_one_device(const char* op, std::initializer_list<Argument> arguments) {
  const Argument& first = *arguments.begin();
  const Place here = place_of(*first.tensor);
  for (const Argument& other : arguments) {
    if (other.tensor == nullptr || place_of(*other.tensor) == here) continue;
    throw std::invalid_argument(std::string("rambit: ") + op + ": " + other.name + " is on " + name_of(place_of(*other.tensor)) +
                                ", " + first.name + " on " + name_of(here) + "; all tensors of a call must be on one device");
  }
}

inline Dtype dtype_of(const Tensor& t, const char* op) {
  const ScalarType type = t.scalar_type();
  STD_TORCH_CHECK(type == ScalarType::Float || type == ScalarType::Double, "rambit: ", op, ": float32 or float64");
  return type == ScalarType::Double ? Dtype::kDouble : Dtype::kFloat;
}

// Bytes of an element that is moved as raw bits: of any real type.
inline int bytes_of(ScalarType type) {
  switch (type) {
    case ScalarType::Bool:
    case ScalarType::Byte:
    case ScalarType::Char: return 1;
    case ScalarType::Short:
    case ScalarType::Half:
    case ScalarType::BFloat16: return 2;
    case ScalarType::Int:
    case ScalarType::Float: return 4;
    case ScalarType::Long:
    case ScalarType::Double: return 8;
    default: break;
  }
  STD_TORCH_CHECK(false, "rambit: a tensor of real numbers is needed");
}

template <typename T>
uint64_t low_bits(T value, double given) {
  RAMBIT_CHECK(std::isfinite(static_cast<double>(value)) || !std::isfinite(given), "a number is too large for its dtype");
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  return bits;
}

// A number in this type, as raw bits in the low bytes.
inline uint64_t bits_of(double value, ScalarType type) {
  const float rounded = static_cast<float>(value);
  switch (type) {
    case ScalarType::Double: return low_bits(value, value);
    case ScalarType::Float: return low_bits(rounded, value);
    case ScalarType::Half: return low_bits(torch::headeronly::Half(rounded), value);
    case ScalarType::BFloat16: return low_bits(torch::headeronly::BFloat16(rounded), value);
    default: break;
  }
  RAMBIT_CHECK(value == 0, "only 0 may stand in a tensor that is not floating");
  return 0;
}

template <int N>
void read_strides(const Tensor& t, int64_t (&stride)[N]) {
  RAMBIT_CHECK(t.dim() == N, "a tensor has the wrong number of dimensions");
  const auto strides = t.strides();
  for (int i = 0; i < N; ++i) stride[i] = strides[i];
}

inline bool has_shape(const Tensor& t, std::initializer_list<int64_t> shape) {
  const auto sizes = t.sizes();
  if (sizes.size() != shape.size()) return false;
  size_t i = 0;
  for (int64_t expected : shape) {
    if (sizes[i++] != expected) return false;
  }
  return true;
}

// A contiguous tensor of the given type, as a raw pointer.
template <typename T>
const T* plain(const Tensor& t, ScalarType type, const char* what) {
  STD_TORCH_CHECK(t.scalar_type() == type && t.is_contiguous(), "rambit: ", what, " must be contiguous and of its dtype");
  return static_cast<const T*>(t.const_data_ptr());
}

template <typename T>
T* plain_out(const Tensor& t, ScalarType type, const char* what) {
  STD_TORCH_CHECK(t.scalar_type() == type && t.is_contiguous(), "rambit: ", what, " must be contiguous and of its dtype");
  return static_cast<T*>(t.mutable_data_ptr());
}

}  // namespace rambit
