// The passes over memory: quantizer forward and backward, optionally with the batch norm, addition
// and ReLU before it.
//
// Each pass is one loop over vectors of elements. Intermediate values stay in registers, so the
// cost of a pass is the memory that it reads and writes.

#pragma once

#include "arithmetic.h"

namespace sbs {

// Batch norm, residual and ReLU before a quantizer. `scale` and `shift` are null without them.
template <typename T>
struct Before {
  const Wide<T>* scale = nullptr;
  const Wide<T>* shift = nullptr;
  const T* residual = nullptr;
  bool relu = false;

  // The quantizer's input, rounded as if it had been written to memory and read again.
  template <typename A>
  Vec<T> apply(Vec<T> raw, const Run& run, int64_t offset, A access) const {
    const int64_t lane = run.position * kLanes<T>;
    Vec<T> x = raw * Vec<T>::loadu(scale + lane) + Vec<T>::loadu(shift + lane);
    if (residual) x = x + access.get(residual + offset);
    if (relu) x = at::vec::clamp_min(x, Vec<T>(0));
    if constexpr (std::is_same_v<T, BFloat16>) {
      BFloat16 rounded[kLanes<T>];
      write_lanes(x, rounded);
      return read_lanes(rounded);
    }
    return x;
  }
};

// Forward: y, and the residuals |z - D(z)| of all bitwidths except the last.
template <typename T, bool Signed, bool Norm, int Count>
struct Forward {
  const T* raw;
  Before<T> before;
  T* kept;
  T* y;
  Grids<T> grids;
  Wide<T> steps, scale, shift;  // of the selected grid
  bool measure;

  int count() const { return Count ? Count : grids.count; }
  int64_t sums() const { return measure ? count() - 1 : 0; }
  int64_t results() const { return sums(); }

  void select(int64_t bits, double v) {
    steps = static_cast<Wide<T>>(levels(bits));
    scale = static_cast<Wide<T>>((Signed ? 2 * v : v) / levels(bits));
    shift = static_cast<Wide<T>>(Signed ? -v : 0);
  }

  template <typename A>
  void run(const Run& run, A access, Wide<T>* lanes) const {
    Vec<T> residuals[Count ? Count : kMaxBitwidths];
    const int metrics = static_cast<int>(sums());
    for (int b = 0; b < metrics; ++b) residuals[b] = Vec<T>::loadu(lanes + b * kLanes<T>);
    for (int64_t i = 0; i < run.count; ++i) {
      const int64_t at = run.offset + i * run.stride;
      Vec<T> x = access.get(raw + at);
      if constexpr (Norm) {
        x = before.apply(x, run, at, access);
        if (kept) access.put(x, kept + at);
      }
      const Vec<T> z = normalized<Signed>(x * Vec<T>(grids.inverse_v));
      access.put(level(z, Vec<T>(steps)) * Vec<T>(scale) + Vec<T>(shift), y + at);
      for (int b = 0; b < metrics; ++b) {
        const Vec<T> nearest = level(z, Vec<T>(grids.steps[b])) * Vec<T>(grids.inverse_steps[b]);
        residuals[b] = residuals[b] + access.only((z - nearest).abs());
      }
    }
    for (int b = 0; b < metrics; ++b) residuals[b].store(lanes + b * kLanes<T>);
  }

  void collect(int64_t, const Wide<T>* lanes, double* total) const {
    for (int b = 0; b < sums(); ++b) {
      total[b] += sum_of_lanes(lanes + b * kLanes<T>, kLanes<T>);
    }
  }
};

// Backward: the gradient of x, or, with a norm, of the norm's output t. Also these sums, with g the
// gradient of y: g; g * u inside the interval (with `clip_only`: g above it); g * level for every
// bitwidth. With a norm also, per channel: the gradient of t, and its product with raw - center.
template <typename T, bool Signed, bool Norm, int Count>
struct Backward {
  const T* raw;
  const T* kept;  // the quantizer's input if `before` had a residual
  Before<T> before;
  const Wide<T>* center;
  const T* grad_y;
  const T* grad_kept;
  T* grad;  // may be null with a norm
  Grids<T> grids;
  int64_t channels;
  bool clip_only;

  int count() const { return Count ? Count : grids.count; }
  int64_t scalars() const { return 2 + count(); }
  int64_t sums() const { return scalars() + (Norm ? 2 : 0); }
  int64_t results() const { return scalars() + (Norm ? 2 * channels : 0); }

  // The quantizer's input.
  template <typename A>
  Vec<T> input(Vec<T> values, const Run& run, int64_t at, A access) const {
    if constexpr (!Norm) return values;
    return kept ? access.get(kept + at) : before.apply(values, run, at, access);
  }

  // Gradient of t, from the gradient `through` the quantizer.
  template <typename A>
  Vec<T> of_norm(Vec<T> through, Vec<T> x, int64_t at, A access) const {
    if (grad_kept) through = through + access.get(grad_kept + at);
    return before.relu ? (x > Vec<T>(0)) & through : through;
  }

  template <typename A>
  void run(const Run& run, A access, Wide<T>* lanes) const {
    const int64_t step = kLanes<T>;
    Vec<T> products[Count ? Count : kMaxBitwidths];
    Vec<T> sum_g = Vec<T>::loadu(lanes), sum_gu = Vec<T>::loadu(lanes + step), linear, product;
    for (int b = 0; b < count(); ++b) products[b] = Vec<T>::loadu(lanes + (2 + b) * step);
    if constexpr (Norm) {
      linear = Vec<T>::loadu(lanes + scalars() * step);
      product = Vec<T>::loadu(lanes + (scalars() + 1) * step);
    }
    for (int64_t i = 0; i < run.count; ++i) {
      const int64_t at = run.offset + i * run.stride;
      const Vec<T> values = access.get(raw + at);
      const Vec<T> x = input(values, run, at, access);
      const Vec<T> g = grad_y ? access.get(grad_y + at) : Vec<T>(0);
      const Vec<T> u = x * Vec<T>(grids.inverse_v);
      const Vec<T> z = normalized<Signed>(u);
      Vec<T> through = inside<Signed>(u, g);
      sum_g = sum_g + g;
      sum_gu = sum_gu + (clip_only ? (u >= Vec<T>(1)) & g : through * u);
      for (int b = 0; b < count(); ++b) {
        products[b] = products[b] + g * level(z, Vec<T>(grids.steps[b]));
      }
      if constexpr (Norm) {
        through = of_norm(through, x, at, access);
        linear = linear + through;
        product = product + through * (values - Vec<T>::loadu(center + run.position * step));
        if (grad) access.put(through, grad + at);
      } else {
        access.put(through, grad + at);
      }
    }
    sum_g.store(lanes);
    sum_gu.store(lanes + step);
    for (int b = 0; b < count(); ++b) products[b].store(lanes + (2 + b) * step);
    if constexpr (Norm) {
      linear.store(lanes + scalars() * step);
      product.store(lanes + (scalars() + 1) * step);
    }
  }

  void collect(int64_t position, const Wide<T>* lanes, double* total) const {
    const int64_t step = kLanes<T>;
    for (int64_t k = 0; k < scalars(); ++k) {
      const double scale = k < 2 ? 1 : grids.inverse_steps[k - 2];
      total[k] += scale * sum_of_lanes(lanes + k * step, step);
    }
    if constexpr (Norm) {
      for (int64_t i = 0; i < step; ++i) {
        double* channel = total + scalars() + (position * step + i) % channels;
        channel[0] += lanes[scalars() * step + i];
        channel[channels] += lanes[(scalars() + 1) * step + i];
      }
    }
  }
};

// Second half of the norm's backward pass: scale * dt + slope * (raw - center) + offset.
template <typename T, bool Signed>
struct NormBackward {
  Backward<T, Signed, true, 1> first;
  const T* dt;  // gradient of t, recomputed if null
  const Wide<T>* slope;
  const Wide<T>* offset;
  T* grad_raw;

  int64_t sums() const { return 0; }
  int64_t results() const { return 0; }
  void collect(int64_t, const Wide<T>*, double*) const {}

  template <typename A>
  void run(const Run& run, A access, Wide<T>*) const {
    const int64_t lane = run.position * kLanes<T>;
    const Vec<T> scales = Vec<T>::loadu(first.before.scale + lane);
    const Vec<T> slopes = Vec<T>::loadu(slope + lane), offsets = Vec<T>::loadu(offset + lane);
    const Vec<T> centers = Vec<T>::loadu(first.center + lane);
    for (int64_t i = 0; i < run.count; ++i) {
      const int64_t at = run.offset + i * run.stride;
      const Vec<T> values = access.get(first.raw + at);
      Vec<T> gradient;
      if (dt) {
        gradient = access.get(dt + at);
      } else {
        const Vec<T> x = first.input(values, run, at, access);
        const Vec<T> g = first.grad_y ? access.get(first.grad_y + at) : Vec<T>(0);
        gradient = first.of_norm(
            inside<Signed>(x * Vec<T>(first.grids.inverse_v), g), x, at, access);
      }
      access.put(scales * gradient + slopes * (values - centers) + offsets, grad_raw + at);
    }
  }
};

// Per channel: sums of differences from the centre, and of their squares.
template <typename T>
struct Moments {
  const T* raw;
  const Wide<T>* center;
  int64_t channels;

  int64_t sums() const { return 2; }
  int64_t results() const { return 2 * channels; }

  template <typename A>
  void run(const Run& run, A access, Wide<T>* lanes) const {
    const int64_t step = kLanes<T>;
    Vec<T> linear = Vec<T>::loadu(lanes), square = Vec<T>::loadu(lanes + step);
    const Vec<T> origin = Vec<T>::loadu(center + run.position * step);
    for (int64_t i = 0; i < run.count; ++i) {
      const Vec<T> values = access.get(raw + run.offset + i * run.stride);
      const Vec<T> difference = access.only(values - origin);
      linear = linear + difference;
      square = square + difference * difference;
    }
    linear.store(lanes);
    square.store(lanes + step);
  }

  void collect(int64_t position, const Wide<T>* lanes, double* total) const {
    const int64_t step = kLanes<T>;
    for (int64_t i = 0; i < step; ++i) {
      const int64_t channel = (position * step + i) % channels;
      total[channel] += lanes[i];
      total[channels + channel] += lanes[step + i];
    }
  }
};

}  // namespace sbs
