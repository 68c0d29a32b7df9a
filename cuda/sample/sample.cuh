#pragma once
// What sampling a row of logits is made of: its inputs, and the best of many values.

#include "device/rows.cuh"
#include "ops/sample.h"

namespace moe {

constexpr unsigned kSampleThreads = 1024;
constexpr int kPartLogits = 4096;   // of a row, by one block
constexpr int kMassBins = 1 << 10;  // see Masses

struct Best {
  float value;
  int id;
};

/// What one part of a row's logits is: its softmax as if it were alone, and its best id.
struct Part {
  float top, total;
  Best best;
  int non_finite;  // the first id whose logit is; V: none
};

/// What is still to be done for a row that is drawn.
struct Draw {
  float best, log_total;  // best logit that may be drawn; of the softmax of the unmodified logits
  int wanted, changed;    // not wanted: nothing; changed: logits are in the scratch
  // The row may draw every id whose mass has bits above `key`, and of those with just these the
  // first `equals` ids.
  uint32_t key;
  int equals;
};

/// A part's share of what may be drawn.
struct PartMass {
  double above;
  int equals;
};

struct SampleArgs {
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
  bool draws;
  float* scratch;  // [S, 2V]: changed logits, then masses; counts of the history
  Part* parts;     // [S, parts of a row]
  // Of draws: what is to be done, the bins of masses, shares of parts.
  Draw* rows;                 // [S]
  unsigned* bins;             // [S, kMassBins]
  unsigned long long* rests;  // [S, kMassBins]
  PartMass* masses;           // [S, parts of a row]
  unsigned* counters;
};

/// Draws from the rows that want it, behind what has left them in `in.rows`.
void draw_rows(const CudaContext& cuda, const SampleArgs& in, dim3 grid);

/// A row's value in the column of that name.
template <class Value, class Column>
__device__ inline Value at(const Value* row, Column column) {
  return row[static_cast<int>(column)];
}

__device__ inline bool better(const Best& a, const Best& b) {
  return a.value > b.value || (a.value == b.value && a.id < b.id);
}

/// The best of the block's candidates, the lowest id among equals, in every thread.
__device__ inline Best block_best(Best own, Best* scratch) {
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

}  // namespace moe
