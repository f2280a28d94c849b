// Quantizers in one pass forward and one backward, alone or together with the batch norm,
// addition and ReLU before them. sbs/gates.py and sbs/quantizer.py say what they compute.
//
// Each pass is one loop over vectors of elements that keeps everything between its inputs and its
// outputs in registers: what such a pass costs is the memory it moves.

#include "traversal.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/full_like.h>

#include <cmath>
#include <tuple>

namespace {

using namespace sbs;

constexpr int kMaxBitwidths = 8;

// Calls f with the compile-time constants of a quantizer: signed or not, and how many bitwidths
// there are; those counts that occur in practice get code of their own.
template <typename F>
void specialize(bool is_signed, size_t count, const F& f) {
  const auto with_sign = [&](auto sign) {
    if (count == 1) return f(sign, std::integral_constant<int, 1>{});
    if (count == 3) return f(sign, std::integral_constant<int, 3>{});
    f(sign, std::integral_constant<int, 0>{});
  };
  is_signed ? with_sign(std::true_type{}) : with_sign(std::false_type{});
}

// ---------------------------------------------------------------- arithmetic

// The interval that a parameter stands for: its absolute value, held away from zero.
struct Interval {
  double v, slope;  // slope: of v with respect to the parameter

  explicit Interval(const Tensor& parameter) {
    constexpr double smallest = 1e-3;  // SMALLEST_INTERVAL of sbs/quantizer.py
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

// g inside the interval, zero outside.
template <bool Signed, typename V>
V inside(V u, V g) {
  return (u > V(Signed ? -1 : 0)) & (u < V(1)) & g;
}

// The bitwidths of a quantizer. Division would cost more than all the rest: x / v is x * (1 / v).
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

// Batch norm, residual and ReLU before a quantizer; `scale` and `shift` are null without them.
template <typename T>
struct Before {
  const Wide<T>* scale = nullptr;
  const Wide<T>* shift = nullptr;
  const T* residual = nullptr;
  bool relu = false;

  // The quantizer's input, as it would be after a trip through memory.
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

// Forward: y, and the residuals |z - D(z)| of all bitwidths but the last.
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

// Backward: the gradient of x, or with a norm that of its output t, and these sums over the
// gradient g of y: g, g * u inside the interval (if `clip_only`: g above it), g * level of every
// bitwidth; with a norm also, by channel, the gradient of t and its product with raw - center.
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

  // Gradient of t from what comes through the quantizer.
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

// Sums of differences from the centre and of their squares, by channel.
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

// ---------------------------------------------------------------- gates

struct Choice {
  Tensor gates, metrics;
  int64_t bits;
};

// Step functions of metric - threshold, and the bitwidth at the end of their leading run of ones.
Choice choose(
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
Tensor threshold_gradients(
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
double interval_gradient(
    const std::vector<double>& sums, size_t selected, bool is_signed, bool clip_only) {
  if (clip_only) return sums[1];
  const double through_levels = sums[2 + selected];
  return (is_signed ? 2 * through_levels - sums[0] : through_levels) - sums[1];
}

// Which sums the backward pass needs: those of every bitwidth if thresholds learn.
std::vector<int64_t> summed(at::IntArrayRef bitwidths, int64_t bits, bool thresholds_learn) {
  return thresholds_learn ? bitwidths.vec() : std::vector<int64_t>{bits};
}

std::tuple<Tensor, Tensor> scalar_gradients(
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

// Quantizes at the guessed bitwidth while it measures, and again if the gates choose another.
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

// ---------------------------------------------------------------- quantizer alone

// x has to fill its memory without gaps. Returns y, gates, metrics and the selected bitwidth.
// `guess` is the bitwidth that is tried at once; a wrong guess costs a second pass.
std::tuple<Tensor, Tensor, Tensor, int64_t> quantize(
    const Tensor& x, const Tensor& interval, const Tensor& thresholds, at::IntArrayRef bitwidths,
    int64_t guess, bool is_signed) {
  Tensor y = at::empty_like(x);
  const double v = Interval(interval).v;
  Choice choice;
  dispatch(x.scalar_type(), [&](auto type) {
    using T = decltype(type);
    specialize(is_signed, bitwidths.size(), [&](auto sign, auto count) {
      Forward<T, sign, false, count> kernel{
          data<T>(x), {}, nullptr, data<T>(y), Grids<T>(bitwidths, v), 0, 0, 0, true};
      choice = quantize_as_chosen(
          kernel, Traversal<T>(x.numel(), 1), v, guess, thresholds, bitwidths);
    });
  });
  return {y, choice.gates, choice.metrics, choice.bits};
}

std::tuple<Tensor, Tensor, Tensor> quantize_backward(
    const Tensor& grad_y, const Tensor& grad_gates, const Tensor& x, const Tensor& interval,
    const Tensor& thresholds, const Tensor& gates, const Tensor& metrics,
    at::IntArrayRef bitwidths, int64_t bits, bool is_signed, bool clip_only,
    bool thresholds_learn) {
  const Tensor g = laid_out_as(grad_y, x);
  Tensor grad_x = at::empty_like(x);
  const std::vector<int64_t> counted = summed(bitwidths, bits, thresholds_learn);
  std::vector<double> sums;
  dispatch(x.scalar_type(), [&](auto type) {
    using T = decltype(type);
    specialize(is_signed, counted.size(), [&](auto sign, auto count) {
      const Backward<T, sign, false, count> kernel{
          data<T>(x), nullptr, {}, nullptr, data<T>(g), nullptr, data<T>(grad_x),
          Grids<T>(counted, Interval(interval).v), 1, clip_only};
      sums = Traversal<T>(x.numel(), 1).sweep(kernel);
    });
  });
  const auto [grad_interval, grad_thresholds] = scalar_gradients(
      sums, counted, bits, is_signed, clip_only, thresholds_learn, interval, grad_gates, gates, metrics,
      thresholds);
  return {grad_x, grad_interval, grad_thresholds};
}

// ---------------------------------------------------------------- weights

// (w - mean) / deviation over the elements where the mask is not zero, and 1 / deviation.
std::tuple<Tensor, Tensor> standardize(
    const Tensor& w, const std::optional<Tensor>& mask) {
  Tensor result = at::empty_like(w), inverse = at::empty({}, w.options());
  std::optional<Tensor> expanded;
  if (mask) expanded = laid_out_as(mask->expand_as(w), w);
  dispatch(w.scalar_type(), [&](auto type) {
    using T = decltype(type);
    if constexpr (!std::is_same_v<T, BFloat16>) {
      const T* values = data<T>(w);
      const T* kept = data<T>(expanded);
      const int64_t n = w.numel();
      double count = 0, sum = 0, square = 0;
      const auto weight = [&](int64_t i) { return kept ? static_cast<double>(kept[i]) : 1.0; };
      for (int64_t i = 0; i < n; ++i) {
        count += weight(i);
        sum += weight(i) * values[i];
      }
      const double mean = sum / count;
      for (int64_t i = 0; i < n; ++i) {
        square += weight(i) * (values[i] - mean) * (values[i] - mean);
      }
      // The floor only matters for a constant tensor, where any finite scale will do.
      const double scale = 1 / std::max(std::sqrt(square / (count - 1)), 1e-12);
      for (int64_t i = 0; i < n; ++i) {
        data<T>(result)[i] = static_cast<T>((values[i] - mean) * scale);
      }
      *data<T>(inverse) = static_cast<T>(scale);
    }
  });
  return {result, inverse};
}

// ---------------------------------------------------------------- with the batch norm before it

// Mean and biased variance of every channel.
template <typename T>
void moments(
    const T* raw, const Traversal<T>& traversal, std::vector<double>& mean,
    std::vector<double>& variance) {
  const int64_t channels = traversal.channels;
  // Squares of differences from any value of the channel, here the first, do not cancel.
  const std::vector<Wide<T>> first(raw, raw + channels);
  const std::vector<Wide<T>> center = traversal.repeated(first);
  const std::vector<double> total =
      traversal.sweep(Moments<T>{raw, center.data(), channels});
  const double rows = static_cast<double>(traversal.elements) / channels;
  for (int64_t c = 0; c < channels; ++c) {
    const double shift = total[c] / rows;
    mean[c] = first[c] + shift;
    variance[c] = std::max(0.0, total[channels + c] / rows - shift * shift);
  }
}

// Statistics of the batch, which also enter the running ones, or the running ones themselves.
template <typename T>
void statistics(
    const T* raw, const Traversal<T>& traversal, Wide<T>* running_mean, Wide<T>* running_variance,
    bool training, double momentum, std::vector<double>& mean, std::vector<double>& variance) {
  const int64_t channels = traversal.channels;
  if (!training) {
    std::copy(running_mean, running_mean + channels, mean.begin());
    std::copy(running_variance, running_variance + channels, variance.begin());
    return;
  }
  moments(raw, traversal, mean, variance);
  const double rows = static_cast<double>(traversal.elements) / channels;
  for (int64_t c = 0; c < channels; ++c) {
    const double unbiased = variance[c] * rows / (rows - 1);
    const double kept = 1 - momentum;
    running_mean[c] = static_cast<Wide<T>>(kept * running_mean[c] + momentum * mean[c]);
    running_variance[c] =
        static_cast<Wide<T>>(kept * running_variance[c] + momentum * unbiased);
  }
}

// Batch norm as scale * raw + shift, and what its backward pass needs.
template <typename T>
struct Affine {
  std::vector<Wide<T>> scales, scale, shift, center;

  Affine(
      const Traversal<T>& traversal, const Tensor& weight, const Tensor& bias, const Tensor& mean,
      const Tensor& inverse)
      : scales(traversal.channels) {
    std::vector<Wide<T>> shifts(traversal.channels);
    const Wide<T>* means = data<Wide<T>>(mean);
    for (int64_t c = 0; c < traversal.channels; ++c) {
      scales[c] = data<Wide<T>>(weight)[c] * data<Wide<T>>(inverse)[c];
      shifts[c] = data<Wide<T>>(bias)[c] - means[c] * scales[c];
    }
    scale = traversal.repeated(scales);
    shift = traversal.repeated(shifts);
    center = traversal.repeated(std::vector<Wide<T>>(means, means + traversal.channels));
  }
};

// Returns y, the quantizer's input (undefined unless `keep`), gates, metrics, the mean and the
// inverse deviation of every channel, and the selected bitwidth.
std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, int64_t> norm_quantize(
    const Tensor& raw, const Tensor& weight, const Tensor& bias, const Tensor& running_mean,
    const Tensor& running_variance, bool training, double momentum, double eps,
    const std::optional<Tensor>& residual, bool relu, bool keep, const Tensor& interval,
    const Tensor& thresholds, at::IntArrayRef bitwidths, int64_t guess, bool is_signed) {
  const int64_t channels = weight.numel();
  Tensor y = at::empty_like(raw), kept;
  if (keep) kept = at::empty_like(raw);
  Tensor mean = at::empty_like(weight), inverse = at::empty_like(weight);
  const double v = Interval(interval).v;
  Choice choice;
  dispatch(raw.scalar_type(), [&](auto type) {
    using T = decltype(type);
    const Traversal<T> traversal(raw.numel(), channels);
    std::vector<double> means(channels), variances(channels);
    statistics(
        data<T>(raw), traversal, data<Wide<T>>(running_mean), data<Wide<T>>(running_variance),
        training, momentum, means, variances);
    for (int64_t c = 0; c < channels; ++c) {
      data<Wide<T>>(mean)[c] = static_cast<Wide<T>>(means[c]);
      data<Wide<T>>(inverse)[c] = static_cast<Wide<T>>(1 / std::sqrt(variances[c] + eps));
    }
    const Affine<T> affine(traversal, weight, bias, mean, inverse);
    const Before<T> before{affine.scale.data(), affine.shift.data(), data<T>(residual), relu};
    specialize(is_signed, bitwidths.size(), [&](auto sign, auto count) {
      Forward<T, sign, true, count> kernel{
          data<T>(raw), before, keep ? data<T>(kept) : nullptr, data<T>(y),
          Grids<T>(bitwidths, v), 0, 0, 0, true};
      choice = quantize_as_chosen(kernel, traversal, v, guess, thresholds, bitwidths);
    });
  });
  return {y, kept, choice.gates, choice.metrics, mean, inverse, choice.bits};
}

// `kept` is the quantizer's input if there was a residual, and not needed otherwise. Returns the
// gradients of raw, weight, bias, residual (undefined without one), interval and thresholds.
std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> norm_quantize_backward(
    const std::optional<Tensor>& grad_y, const std::optional<Tensor>& grad_kept,
    const Tensor& grad_gates, const Tensor& raw, const std::optional<Tensor>& kept,
    const Tensor& weight, const Tensor& bias, const Tensor& mean, const Tensor& inverse, bool relu,
    const Tensor& interval, const Tensor& thresholds, const Tensor& gates, const Tensor& metrics,
    at::IntArrayRef bitwidths, int64_t bits, bool is_signed, bool clip_only,
    bool thresholds_learn) {
  const int64_t channels = weight.numel();
  std::optional<Tensor> from_y, from_kept;
  if (grad_y) from_y = laid_out_as(*grad_y, raw);
  if (grad_kept) from_kept = laid_out_as(*grad_kept, raw);
  Tensor grad_raw = at::empty_like(raw), grad_residual;
  if (kept) grad_residual = at::empty_like(raw);
  Tensor grad_weight = at::empty_like(weight), grad_bias = at::empty_like(bias);
  const std::vector<int64_t> counted = summed(bitwidths, bits, thresholds_learn);
  std::vector<double> sums;
  dispatch(raw.scalar_type(), [&](auto type) {
    using T = decltype(type);
    using W = Wide<T>;
    const Traversal<T> traversal(raw.numel(), channels);
    const Affine<T> affine(traversal, weight, bias, mean, inverse);
    const Before<T> before{affine.scale.data(), affine.shift.data(), nullptr, relu};
    T* grad_norm = kept ? data<T>(grad_residual) : nullptr;
    specialize(is_signed, counted.size(), [&](auto sign, auto count) {
      const auto kernel = [&](auto kernel_count) {
        return Backward<T, sign, true, kernel_count>{
            data<T>(raw), data<T>(kept), before, affine.center.data(), data<T>(from_y),
            data<T>(from_kept), grad_norm, Grids<T>(counted, Interval(interval).v), channels,
            clip_only};
      };
      const auto first = kernel(count);
      sums = traversal.sweep(first);

      // grad_raw = scale * (dt - mean(dt) - xhat * mean(dt * xhat))
      const double* linear = sums.data() + first.scalars();
      const double* product = linear + channels;
      const double rows = static_cast<double>(raw.numel()) / channels;
      std::vector<W> slopes(channels), offsets(channels);
      for (int64_t c = 0; c < channels; ++c) {
        const double deviation = data<W>(inverse)[c], scale = affine.scales[c] / rows;
        data<W>(grad_weight)[c] = static_cast<W>(product[c] * deviation);
        data<W>(grad_bias)[c] = static_cast<W>(linear[c]);
        slopes[c] = static_cast<W>(-scale * deviation * deviation * product[c]);
        offsets[c] = static_cast<W>(-scale * linear[c]);
      }
      const std::vector<W> slope = traversal.repeated(slopes);
      const std::vector<W> offset = traversal.repeated(offsets);
      traversal.sweep(NormBackward<T, sign>{
          kernel(std::integral_constant<int, 1>{}), grad_norm, slope.data(), offset.data(),
          data<T>(grad_raw)});
    });
  });
  const auto [grad_interval, grad_thresholds] = scalar_gradients(
      sums, counted, bits, is_signed, clip_only, thresholds_learn, interval, grad_gates, gates, metrics,
      thresholds);
  return {grad_raw, grad_weight, grad_bias, grad_residual, grad_interval, grad_thresholds};
}

}  // namespace

TORCH_LIBRARY(sbs, library) {
  library.def(
      "quantize(Tensor x, Tensor interval, Tensor thresholds, int[] bitwidths, int guess, "
      "bool is_signed) -> (Tensor, Tensor, Tensor, int)");
  library.def(
      "quantize_backward(Tensor grad_y, Tensor grad_gates, Tensor x, Tensor interval, "
      "Tensor thresholds, Tensor gates, Tensor metrics, int[] bitwidths, int bits, "
      "bool is_signed, bool clip_only, bool thresholds_learn) -> (Tensor, Tensor, Tensor)");
  library.def("standardize(Tensor w, Tensor? mask) -> (Tensor, Tensor)");
  library.def(
      "norm_quantize(Tensor raw, Tensor weight, Tensor bias, Tensor(a!) running_mean, "
      "Tensor(b!) running_variance, bool training, float momentum, float eps, Tensor? residual, "
      "bool relu, bool keep, Tensor interval, Tensor thresholds, int[] bitwidths, int guess, "
      "bool is_signed) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, int)");
  library.def(
      "norm_quantize_backward(Tensor? grad_y, Tensor? grad_kept, Tensor grad_gates, Tensor raw, "
      "Tensor? kept, Tensor weight, Tensor bias, Tensor mean, Tensor inverse, bool relu, "
      "Tensor interval, Tensor thresholds, Tensor gates, Tensor metrics, int[] bitwidths, "
      "int bits, bool is_signed, bool clip_only, bool thresholds_learn) "
      "-> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)");
}

TORCH_LIBRARY_IMPL(sbs, CPU, library) {
  library.impl("quantize", quantize);
  library.impl("quantize_backward", quantize_backward);
  library.impl("standardize", standardize);
  library.impl("norm_quantize", norm_quantize);
  library.impl("norm_quantize_backward", norm_quantize_backward);
}
