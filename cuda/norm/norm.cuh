#pragma once
// RMSNorm of a few rows by one block, or of a head by one warp, for its own kernel and for those
// that norm on the way.

#include "device/rows.cuh"

namespace moe {

constexpr int kNormThreads = 256;  // of a block: sums are the same bits in every kernel

template <class X>
struct NormArgs {
  Rows<const X> x;
  const float* weight;
  float eps;
  int H;
  bool whole;  // see in_quads()
};

/// Before wait_prior_grid(), by one block: the weights are not waited for behind it.
template <class X>
__device__ __forceinline__ void prefetch_norm(const NormArgs<X>& args) {
  if (threadIdx.x == 0 && args.whole)
    prefetch_l2(args.weight, static_cast<unsigned>(args.H) * sizeof(float));
}

/// Floats of scratch for `rows` rows.
constexpr int norm_scratch(int rows) { return rows * kNormThreads / 32; }

/// Norms rows first, ..., first + count - 1 and calls `put(i, h, quad)` for all quads of row
/// first + i. What it puts into shared memory is visible after the caller's next barrier.
template <class X, class Put>
__device__ __forceinline__ void norm_rows(const NormArgs<X>& args, int first, int count,
                                          float* scratch, const Put& put) {
  constexpr int kWarps = kNormThreads / 32;
  const int warp = static_cast<int>(threadIdx.x / 32);
  for (int i = 0; i < count; ++i) {
    float squares = 0.f;
    for_quads(args.H, [&](int h) {
      const Quad x = load_quad(args.x[first + i], h, args.H, args.whole);
      for (float v : x.v) squares += v * v;
    });
    squares = warp_sum(squares);
    if (threadIdx.x % 32 == 0) scratch[i * kWarps + warp] = squares;
  }
  __syncthreads();
  for (int i = 0; i < count; ++i) {
    float total = 0.f;
    for (int w = 0; w < kWarps; ++w) total += scratch[i * kWarps + w];
    const float inverse = 1.f / sqrtf(total / static_cast<float>(args.H) + args.eps);
    for_quads(args.H, [&](int h) {
      Quad x = load_quad(args.x[first + i], h, args.H, args.whole);
      const Quad weight = load_quad(args.weight, h, args.H, args.whole);
      for (int j = 0; j < 4; ++j) x.v[j] = x.v[j] * inverse * weight.v[j];
      put(i, h, x);
    });
  }
}

/// Norms `count` values by one warp, as a head is: `put(h, quad)` for all quads.
template <class X, class Put>
__device__ __forceinline__ void norm_run(const X* x, const float* weight, float eps, int count,
                                         bool whole, const Put& put) {
  const int first = 4 * static_cast<int>(threadIdx.x % 32);
  float squares = 0.f;
  for (int h = first; h < count; h += 4 * 32) {
    const Quad quad = load_quad(x, h, count, whole);
    for (float v : quad.v) squares += v * v;
  }
  const float inverse = 1.f / sqrtf(warp_sum(squares) / static_cast<float>(count) + eps);
  for (int h = first; h < count; h += 4 * 32) {
    Quad quad = load_quad(x, h, count, whole);
    const Quad factor = load_quad(weight, h, count, whole);
    for (int j = 0; j < 4; ++j) quad.v[j] = quad.v[j] * inverse * factor.v[j];
    put(h, quad);
  }
}

}  // namespace moe
