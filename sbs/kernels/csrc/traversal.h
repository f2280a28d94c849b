// How kernels go through memory: vectors of elements, and sums over blocks.
//
// Blocks have a fixed size and their sums are added in order, so results do not depend on the
// number of threads.

#pragma once

#include <ATen/Parallel.h>
#include <ATen/cpu/vec/vec.h>
#include <ATen/ops/empty_like.h>
#include <torch/library.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <optional>
#include <type_traits>
#include <vector>

namespace sbs {

using at::Tensor;
using c10::BFloat16;

constexpr int64_t kChunk = 2048;   // elements of each tensor at a time: they fit into the L1 cache
constexpr int64_t kBlock = 32768;  // approximate number of elements in a unit of parallel work

// ---------------------------------------------------------------- vectors of elements

// The type in which values of type T are computed.
template <typename T>
using Wide = std::conditional_t<std::is_same_v<T, double>, double, float>;

template <typename T>
using Vec = at::vec::Vectorized<Wide<T>>;

template <typename T>
constexpr int64_t kLanes = Vec<T>::size();

template <typename T>
Vec<T> read_lanes(const T* from) {
  if constexpr (std::is_same_v<T, BFloat16>) {
    Vec<T> result;
    at::vec::load_fp32_from_bf16(from, result);
    return result;
  } else {
    return Vec<T>::loadu(from);
  }
}

template <typename T>
void write_lanes(Vec<T> values, T* to) {
  if constexpr (!std::is_same_v<T, BFloat16>) {
    values.store(to);
  } else {
#if defined(CPU_CAPABILITY_AVX512) && defined(__AVX512BF16__)
    const auto narrow = _mm512_cvtneps_pbh(values);
    std::memcpy(to, &narrow, sizeof(narrow));
#else
    at::vec::convert_float_bfloat16(values, values).store(to, kLanes<T>);
#endif
  }
}

// Access to whole vectors, or only to the first `valid` lanes; the others are read as zero.
template <typename T, bool Whole>
struct Access {
  int64_t valid;

  Vec<T> get(const T* from) const {
    if constexpr (Whole) return read_lanes(from);
    T buffer[kLanes<T>] = {};
    std::memcpy(buffer, from, valid * sizeof(T));
    return read_lanes(buffer);
  }

  void put(Vec<T> values, T* to) const {
    if constexpr (Whole) return write_lanes(values, to);
    T buffer[kLanes<T>];
    write_lanes(values, buffer);
    std::memcpy(to, buffer, valid * sizeof(T));
  }

  // Zero in the lanes that are not valid.
  Vec<T> only(Vec<T> values) const {
    if constexpr (Whole) return values;
    Wide<T> buffer[kLanes<T>];
    values.store(buffer);
    std::fill(buffer + valid, buffer + kLanes<T>, Wide<T>(0));
    return Vec<T>::loadu(buffer);
  }
};

template <typename F>
void dispatch(at::ScalarType type, const F& f) {
  switch (type) {
    case at::kFloat: return f(float{});
    case at::kDouble: return f(double{});
    case at::kBFloat16: return f(BFloat16{});
    default: TORCH_CHECK(false, "sbs: no kernel for ", type);
  }
}

template <typename T>
T* data(const Tensor& tensor) {
  return tensor.data_ptr<T>();  // refuses another type
}

template <typename T>
T* data(const std::optional<Tensor>& tensor) {
  return tensor ? data<T>(*tensor) : nullptr;
}

// The tensor in the memory layout and element type of another one.
inline Tensor laid_out_as(const Tensor& tensor, const Tensor& like) {
  if (tensor.strides() == like.strides() && tensor.scalar_type() == like.scalar_type()) {
    return tensor;
  }
  return at::empty_like(like).copy_(tensor);
}

// ---------------------------------------------------------------- traversal

// `count` vectors, `stride` elements apart, starting at `offset`. All cover the same channels:
// those of vector number `position` of a period.
struct Run {
  int64_t position, offset, count, stride;
};

// Elements are rows of channels, as in channels-last memory. A period is the smallest number of
// elements that is a whole number of rows and of vectors. Vectors at the same position of a period
// cover the same channels.
template <typename T>
struct Traversal {
  int64_t elements, channels, period, chunk, block;

  Traversal(int64_t elements, int64_t channels)
      : elements(elements),
        channels(channels),
        period(std::lcm(channels, kLanes<T>)),
        chunk(period * std::max<int64_t>(1, kChunk / period)),
        block(chunk * std::max<int64_t>(1, kBlock / chunk)) {}

  int64_t positions() const { return period / kLanes<T>; }
  int64_t blocks() const { return (elements + block - 1) / block; }

  // Calls kernel.run(run, access, lanes) over all elements, in parallel. For each block,
  // kernel.collect(position, lanes, total) adds the lanes to `results` sums. Returns the sums of
  // all blocks.
  template <typename Kernel>
  std::vector<double> sweep(const Kernel& kernel) const {
    const int64_t width = kernel.sums(), results = kernel.results();
    std::vector<double> by_block(blocks() * results, 0.0);
    at::parallel_for(0, blocks(), 1, [&](int64_t first, int64_t last) {
      std::vector<Wide<T>> lanes(positions() * width * kLanes<T>);
      for (int64_t b = first; b < last; ++b) {
        std::fill(lanes.begin(), lanes.end(), Wide<T>(0));
        over_block(kernel, b * block, std::min(elements, (b + 1) * block), width, lanes.data());
        for (int64_t p = 0; p < positions(); ++p) {
          kernel.collect(
              p, lanes.data() + p * width * kLanes<T>, by_block.data() + b * results);
        }
      }
    });
    std::vector<double> total(results, 0.0);
    for (size_t i = 0; i < by_block.size(); ++i) total[i % results] += by_block[i];
    return total;
  }

  template <typename Kernel>
  void over_block(
      const Kernel& kernel, int64_t begin, int64_t end, int64_t width, Wide<T>* lanes) const {
    const int64_t step = kLanes<T>;
    for (int64_t at = begin; at < end; at += chunk) {
      const int64_t vectors = (std::min(end, at + chunk) - at) / step;
      for (int64_t p = 0; p < std::min(positions(), vectors); ++p) {
        const int64_t count = (vectors - p - 1) / positions() + 1;
        kernel.run(
            Run{p, at + p * step, count, period}, Access<T, true>{}, lanes + p * width * step);
      }
      const int64_t rest = std::min(end, at + chunk) - at - vectors * step;
      if (rest) {
        const int64_t p = vectors % positions();
        kernel.run(
            Run{p, at + vectors * step, 1, period}, Access<T, false>{rest},
            lanes + p * width * step);
      }
    }
  }

  // One value per channel, repeated over a period.
  std::vector<Wide<T>> repeated(const std::vector<Wide<T>>& values) const {
    std::vector<Wide<T>> result(period);
    for (int64_t i = 0; i < period; ++i) result[i] = values[i % channels];
    return result;
  }
};

template <typename W>
double sum_of_lanes(const W* lanes, int64_t count) {
  return std::accumulate(lanes, lanes + count, 0.0);
}

}  // namespace sbs
