// Gates from the sums of a pass; gradients of the thresholds and of the interval.
// sbs/quantization/gates.py defines what they compute.

#pragma once

#include "arithmetic.h"

#include <ATen/ops/empty_like.h>
#include <ATen/ops/full_like.h>

#include <tuple>

namespace sbs {

struct Choice {
  Tensor gates, metrics;
  int64_t bits;
};

// Gates (step functions of metric - threshold), and the bitwidth after their leading run of ones.
inline Choice choose(
    const std::vector<double>& sums, int64_t elements, const Tensor& thresholds,
    at::IntArrayRef bitwidths) {
  Choice choice{at::empty_like(thresholds), at::empty_like(thresholds), bitwidths[0]};
  dispatch(thresholds.scalar_type(), [&](auto type) {
    using T = decltype(type);
    if constexpr (!std::is_same_v<T, BFloat16>) {
      bool open = true;
      for (size_t b = 0; b + 1 < bitwidths.size(); ++b) {
        const T metric = static_cast<T>(sums[b] / elements);
        const bool gate = metric >= data<T>(thresholds)[b];
        data<T>(choice.metrics)[b] = metric;
        data<T>(choice.gates)[b] = gate;
        open = open && gate;
        if (open) choice.bits = bitwidths[b + 1];
      }
    }
  });
  return choice;
}

// Gradients of z_b1 + g_2 (r_2 + g_3 (...)) with respect to the thresholds, Eqs. 10 and 12.
inline Tensor threshold_gradients(
    const std::vector<double>& products, const Tensor& grad_gates, const Tensor& gates,
    const Tensor& metrics, const Tensor& thresholds) {
  const Tensor from_gates = grad_gates.contiguous();
  Tensor result = at::empty_like(thresholds);
  dispatch(thresholds.scalar_type(), [&](auto type) {
    using T = decltype(type);
    if constexpr (!std::is_same_v<T, BFloat16>) {
      const int64_t count = thresholds.numel();
      std::vector<double> inner(count);
      double tail = 0;
      for (int64_t b = count - 1; b >= 0; --b) {
        inner[b] = products[b + 1] - products[b] + tail;
        tail = data<T>(gates)[b] * inner[b];
      }
      double before = 1;
      for (int64_t b = 0; b < count; ++b) {
        const double u = data<T>(metrics)[b] - data<T>(thresholds)[b];
        const double sigmoid = 1 / (1 + std::exp(-u));
        const double gradient = data<T>(from_gates)[b] + before * inner[b];
        data<T>(result)[b] = static_cast<T>(-gradient * sigmoid * (1 - sigmoid));
        before *= data<T>(gates)[b];
      }
    }
  });
  return result;
}

// Gradient of the interval from the sums of add_gradients.
inline double interval_gradient(
    const std::vector<double>& sums, size_t selected, bool is_signed, bool clip_only) {
  if (clip_only) return sums[1];
  const double through_levels = sums[2 + selected];
  return (is_signed ? 2 * through_levels - sums[0] : through_levels) - sums[1];
}

// Bitwidths whose sums the backward pass needs: all of them if the thresholds learn.
inline std::vector<int64_t> summed(at::IntArrayRef bitwidths, int64_t bits, bool thresholds_learn) {
  return thresholds_learn ? bitwidths.vec() : std::vector<int64_t>{bits};
}

inline std::tuple<Tensor, Tensor> scalar_gradients(
    const std::vector<double>& sums, at::IntArrayRef counted, int64_t bits, bool is_signed,
    bool clip_only, bool thresholds_learn, const Tensor& interval, const Tensor& grad_gates, const Tensor& gates,
    const Tensor& metrics, const Tensor& thresholds) {
  const size_t selected = std::find(counted.begin(), counted.end(), bits) - counted.begin();
  const Interval used(interval);
  Tensor grad_interval =
      at::full_like(interval, used.slope * interval_gradient(sums, selected, is_signed, clip_only));
  Tensor grad_thresholds;
  if (thresholds_learn) {
    const double scale = used.v * (is_signed ? 2 : 1);
    std::vector<double> products(sums.begin() + 2, sums.begin() + 2 + counted.size());
    for (double& product : products) product *= scale;
    grad_thresholds = threshold_gradients(products, grad_gates, gates, metrics, thresholds);
  }
  return {grad_interval, grad_thresholds};
}

// Quantizes at the guessed bitwidth and measures in the same pass. If the gates choose another
// bitwidth, a second pass quantizes at that one.
template <typename T, typename Kernel>
Choice quantize_as_chosen(
    Kernel& kernel, const Traversal<T>& traversal, double v, int64_t guess,
    const Tensor& thresholds, at::IntArrayRef bitwidths) {
  kernel.measure = true;
  kernel.select(guess, v);
  const Choice choice =
      choose(traversal.sweep(kernel), traversal.elements, thresholds, bitwidths);
  if (choice.bits != guess) {
    kernel.measure = false;
    kernel.kept = nullptr;
    kernel.select(choice.bits, v);
    traversal.sweep(kernel);
  }
  return choice;
}

}  // namespace sbs
