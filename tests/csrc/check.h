// What the native tests share: checks, random numbers, memory, and the kernels under test.
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <exception>
#include <limits>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "backend.h"
#include "host/cuda_runtime.h"

namespace rambit {

inline int passed = 0, failed = 0;

inline void check(bool holds, const char* what, const char* file, int line) {
  holds ? ++passed : ++failed;
  if (!holds) std::printf("%s:%d: %s\n", file, line, what);
}
#define CHECK(condition) check((condition), #condition, __FILE__, __LINE__)

// ---- the kernels under test ---------------------------------------------------------------------------------------------

struct Kernels {
#define RAMBIT_POINTER(name, Args) void (*name)(const Args& args, void* stream);
  RAMBIT_OPS(RAMBIT_POINTER)
#undef RAMBIT_POINTER
};
inline Kernels kernels{};
struct OnlyLast {  // the kernels skip to their last items: tensors too large to be walked
  OnlyLast() { host::only_last = true; }
  ~OnlyLast() { host::only_last = false; }
};

enum class On { kOnce, kCpu, kEveryBackend };  // a test without kernels, of what the CPU alone does, of all kernels

struct Test {
  const char* name;
  void (*run)();
  On on;
};
std::vector<Test> number_tests();
std::vector<Test> mask_tests();
std::vector<Test> masked_batch_tests();
std::vector<Test> boxed_batch_tests();
std::vector<Test> window_tests();
std::vector<Test> score_tests();
std::vector<Test> plan_tests();
std::vector<Test> backend_tests();

// ---- helpers ------------------------------------------------------------------------------------------------------------

template <typename F>
bool throws(F f) {
  try {
    f();
  } catch (const std::exception&) {
    return true;
  }
  return false;
}

inline bool near(double a, double b, double tolerance = 1e-12) { return std::fabs(a - b) <= tolerance * (1 + std::fabs(b)); }

inline std::mt19937_64 random_bits(7);
inline int64_t pick(int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(random_bits); }
inline double real() { return std::uniform_real_distribution<double>(0.01, 1)(random_bits); }

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

template <int N>
void set_strides(int64_t (&to)[N], const std::vector<int64_t>& from) {
  std::copy(from.begin(), from.end(), to);
}

inline std::vector<int64_t> packed(std::vector<int64_t> sizes, bool features_last) {
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

}  // namespace rambit
