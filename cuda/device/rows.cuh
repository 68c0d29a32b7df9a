#pragma once
// What the row-wise kernels share: conversions and reductions in a fixed order.

#include <ptx.cuh>

#include "context.h"
#include "core/tensor.h"

namespace moe {

template <class T>
__device__ __forceinline__ T from_f32(float value) {
  if constexpr (is_bf16<T>)
    return narrow(value);
  else
    return value;
}

/// Template argument: nothing was fused into this launch.
struct Nothing {};

/// A tensor's rows as kernels take them.
template <class T>
struct Rows {
  T* data;
  int64_t stride;

  __device__ __forceinline__ T* operator[](int64_t i) const { return data + i * stride; }
};

template <class T>
Rows<T> rows_of(const Tensor& tensor) {
  return {tensor ? tensor.as<T>() : nullptr, tensor.row_stride};
}

/// Four neighbouring values, as the row-wise kernels read and write them.
struct Quad {
  float v[4];
};

/// Whether every row of the tensors is made of aligned quads; null tensors do not count.
template <class... Tensors>
bool in_quads(const Tensors&... tensors) {
  const auto fits = [](const Tensor& t) {
    const auto address = reinterpret_cast<uintptr_t>(t.as<std::byte>());
    return t.last() % 4 == 0 && t.row_stride % 4 == 0 && address % (4 * dtype_bytes(t.dtype)) == 0;
  };
  return ((!tensors || fits(tensors)) && ...);
}

/// Values h to h + 3 of a row, zero from `width` on. `whole`: in_quads() of its tensor.
template <class T>
__device__ __forceinline__ Quad load_quad(const T* row, int h, int width, bool whole) {
  if (whole) {
    if constexpr (!is_bf16<T>) {
      const float4 bits = *reinterpret_cast<const float4*>(row + h);
      return {{bits.x, bits.y, bits.z, bits.w}};
    } else {
      const uint2 bits = *reinterpret_cast<const uint2*>(row + h);
      return {{__uint_as_float(bits.x << 16), __uint_as_float(bits.x & 0xffff0000u),
               __uint_as_float(bits.y << 16), __uint_as_float(bits.y & 0xffff0000u)}};
    }
  }
  Quad quad{};
  for (int i = 0; i < 4; ++i)
    if (h + i < width) quad.v[i] = to_float(row[h + i]);
  return quad;
}

template <class T>
__device__ __forceinline__ void store_quad(T* row, int h, int width, bool whole, const Quad& q) {
  if (!whole) {
    for (int i = 0; i < 4; ++i)
      if (h + i < width) row[h + i] = from_f32<T>(q.v[i]);
  } else if constexpr (!is_bf16<T>) {
    *reinterpret_cast<float4*>(row + h) = {q.v[0], q.v[1], q.v[2], q.v[3]};
  } else {
    *reinterpret_cast<uint2*>(row + h) = {narrow2(q.v[0], q.v[1]), narrow2(q.v[2], q.v[3])};
  }
}

/// Calls `body(h)` for this thread's quads of a row of `width`, by all threads of the block.
template <class Body>
__device__ __forceinline__ void for_quads(int width, const Body& body) {
  for (int h = 4 * static_cast<int>(threadIdx.x); h < width; h += 4 * static_cast<int>(blockDim.x))
    body(h);
}

template <class T>
__device__ __forceinline__ T warp_sum(T value) {
  for (int bits = 16; bits; bits >>= 1) value += __shfl_xor_sync(~0u, value, bits);
  return value;
}

/// The sum over this lane and those before it.
__device__ __forceinline__ int warp_prefix(int value) {
  for (unsigned distance = 1; distance < 32; distance *= 2) {
    const int before = __shfl_up_sync(~0u, value, distance);
    if (threadIdx.x % 32 >= distance) value += before;
  }
  return value;
}

__device__ __forceinline__ float warp_max(float value) {
  for (int bits = 16; bits; bits >>= 1) value = fmaxf(value, __shfl_xor_sync(~0u, value, bits));
  return value;
}

/// The sum over a block of whole warps, in every thread. `scratch` holds 32 values.
template <class T>
__device__ T block_sum(T value, T* scratch) {
  const unsigned warp = threadIdx.x / 32, warps = blockDim.x / 32;
  value = warp_sum(value);
  __syncthreads();  // whoever still reads the scratch of the sum before
  if (threadIdx.x % 32 == 0) scratch[warp] = value;
  __syncthreads();
  T total = T(0);
  for (unsigned w = 0; w < warps; ++w) total += scratch[w];
  return total;
}

/// True in every thread of the one block that comes to the counter last of `blocks`, which then
/// sees what all of them have written and leaves the counter at 0 for the next kernel. The fences
/// are of the thread that counts, between barriers: in PTX's memory model that orders what all
/// threads of a block wrote, while a fence of each thread before the barrier orders nothing.
__device__ inline bool is_last(unsigned* counter, unsigned blocks, int* shared) {
  __syncthreads();
  if (threadIdx.x == 0) {
    __threadfence();
    const bool last = atomicAdd(counter, 1u) == blocks - 1;
    if (last) {
      __threadfence();
      *counter = 0;
    }
    *shared = last;
  }
  __syncthreads();
  return *shared != 0;
}

__device__ inline float block_max(float value, float* scratch) {
  const unsigned warp = threadIdx.x / 32, warps = blockDim.x / 32;
  value = warp_max(value);
  __syncthreads();
  if (threadIdx.x % 32 == 0) scratch[warp] = value;
  __syncthreads();
  float best = scratch[0];
  for (unsigned w = 1; w < warps; ++w) best = fmaxf(best, scratch[w]);
  return best;
}

}  // namespace moe
