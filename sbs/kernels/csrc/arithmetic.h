// Arithmetic of the quantizers on vectors of elements: intervals, levels, grids.
// sbs/quantization/uniform.py defines what they compute.

#pragma once

#include "traversal.h"

#include <cmath>

namespace sbs {

constexpr int kMaxBitwidths = 8;

// Calls f with the compile-time constants of a quantizer: its sign and its number of bitwidths.
// Numbers that occur in practice (1 and 3) have code of their own.
template <typename F>
void specialize(bool is_signed, size_t count, const F& f) {
  const auto with_sign = [&](auto sign) {
    if (count == 1) return f(sign, std::integral_constant<int, 1>{});
    if (count == 3) return f(sign, std::integral_constant<int, 3>{});
    f(sign, std::integral_constant<int, 0>{});
  };
  is_signed ? with_sign(std::true_type{}) : with_sign(std::false_type{});
}

// The interval that a parameter defines: its absolute value, with a lower bound.
struct Interval {
  double v, slope;  // slope: derivative of v with respect to the parameter

  explicit Interval(const Tensor& parameter) {
    constexpr double smallest = 1e-3;  // SMALLEST_INTERVAL of sbs/quantization/uniform.py
    const double value = parameter.item<double>();
    v = std::max(std::abs(value), smallest);
    slope = std::abs(value) < smallest ? 0 : (value > 0) - (value < 0);
  }
};

inline double levels(int64_t bits) { return static_cast<double>((int64_t{1} << bits) - 1); }

// Index of the level of z on a grid, Eq. 3: nearest, ties down.
template <typename V>
V level(V z, V steps) {
  return (z * steps - V(0.5)).ceil();
}

// T(x), Eqs. 1 and 2, from u = x / v.
template <bool Signed, typename V>
V normalized(V u) {
  if constexpr (Signed) return (at::vec::clamp(u, V(-1), V(1)) + V(1)) * V(0.5);
  return at::vec::clamp(u, V(0), V(1));
}

// g inside the interval, 0 outside.
template <bool Signed, typename V>
V inside(V u, V g) {
  return (u > V(Signed ? -1 : 0)) & (u < V(1)) & g;
}

// The bitwidths of a quantizer. Division is the slowest operation here, so x / v is x * (1 / v).
template <typename T>
struct Grids {
  Wide<T> inverse_v;
  int count;
  Wide<T> steps[kMaxBitwidths], inverse_steps[kMaxBitwidths];

  Grids(at::IntArrayRef bitwidths, double v)
      : inverse_v(static_cast<Wide<T>>(1 / v)), count(static_cast<int>(bitwidths.size())) {
    TORCH_CHECK(count <= kMaxBitwidths, "sbs: more than ", kMaxBitwidths, " bitwidths");
    for (int b = 0; b < count; ++b) {
      steps[b] = static_cast<Wide<T>>(levels(bitwidths[b]));
      inverse_steps[b] = 1 / steps[b];
    }
  }
};

}  // namespace sbs
