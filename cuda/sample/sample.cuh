#pragma once
// What sampling a row of logits is made of: its inputs, and the best of many values.

#include "device/rows.cuh"
#include "ops/sample.h"

namespace moe {
namespace {

constexpr unsigned kThreads = 1024;

struct Part;

struct Inputs {
  Rows<const float> logits, options;
  Rows<const int32_t> counts;
  const int32_t *history, *history_offsets;
  int32_t* ids;
  float* logprobs;
  int32_t* non_finite;
  Rows<int32_t> top_ids;
  Rows<float> top_logprobs;
  Rows<const uint32_t> masks;
  const int32_t *mask_rows, *bias_ids;
  const float* biases;
  const int32_t* bias_offsets;
  int V, vocabulary, top;
  float* scratch;  // [S, 2V]: changed logits, then masses; counts of the history
  Part* parts;     // [S, parts of a row]
  unsigned* counters;
};

/// A row's value in the column of that name.
template <class Value, class Column>
__device__ Value at(const Value* row, Column column) {
  return row[static_cast<int>(column)];
}

struct Best {
  float value;
  int id;
};

__device__ bool better(const Best& a, const Best& b) {
  return a.value > b.value || (a.value == b.value && a.id < b.id);
}

/// The best of the block's candidates, the lowest id among equals, in every thread.
__device__ Best block_best(Best own, Best* scratch) {
  for (int bits = 16; bits; bits >>= 1) {
    const Best other{__shfl_xor_sync(~0u, own.value, bits), __shfl_xor_sync(~0u, own.id, bits)};
    if (better(other, own)) own = other;
  }
  __syncthreads();
  if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = own;
  __syncthreads();
  Best best = scratch[0];
  for (unsigned w = 1; w < blockDim.x / 32; ++w)
    if (better(scratch[w], best)) best = scratch[w];
  return best;
}

/// Best of z[0, n) behind `after` in the order of better().
__device__ Best best_after(const float* z, int n, const Best* after, Best* scratch) {
  Best own{-INFINITY, n};
  for (int v = static_cast<int>(threadIdx.x); v < n; v += static_cast<int>(kThreads)) {
    const Best candidate{z[v], v};
    if ((!after || better(*after, candidate)) && (own.id == n || better(candidate, own)))
      own = candidate;
  }
  return block_best(own, scratch);
}

}  // namespace
}  // namespace moe
