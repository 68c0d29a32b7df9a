#pragma once
// Where slots' rows go when rows are grouped by expert: a counting sort by one block.

#include "device/rows.cuh"

namespace moe {

/// Counts of a block's warps, as many warps as they have room for, and where groups begin.
constexpr int kMostCounts = 8192;
__device__ __host__ inline int place_warps(int groups, int warps) {
  const int most = kMostCounts / (groups > 1 ? groups : 1);
  return most < 1 ? 1 : most < warps ? most : warps;
}
inline size_t place_bytes(int groups, int warps) {
  return sizeof(int) * static_cast<size_t>((place_warps(groups, warps) + 1) * groups + 1);
}

/// Counting sort of all slots by group, in slot order inside a group, by one block: warp w has a
/// range of slots to itself. No atomics, so a slot's row is the same in every run. `group_of(slot)`
/// may read the slot's row; a slot of a negative group gets row -1. `counts`: place_bytes() of
/// shared memory.
template <class GroupOf>
__device__ void place(int T, int K, int G, const GroupOf& group_of, Rows<int32_t> rows,
                      int32_t* offsets, int* counts) {
  const int slots = T * K;
  const int warps = place_warps(G, static_cast<int>(blockDim.x / 32));
  const int warp = static_cast<int>(threadIdx.x / 32), lane = static_cast<int>(threadIdx.x % 32);
  const int per_warp = ((slots + warps - 1) / warps + 31) / 32 * 32;
  const int begin = min(warp * per_warp, slots);
  const int end = warp < warps ? min(begin + per_warp, slots) : begin;
  int* own = counts + min(warp, warps - 1) * G;  // counts, then the next row of each group
  int* starts = counts + warps * G;              // [G + 1]
  // `visit(slot, group, peers, rank)`: the lanes with the same group, and how many come before.
  const auto for_each = [&](auto&& visit) {
    constexpr int kAhead = 8;  // ids on their way at a time
    for (int s = begin; s < end; s += 32 * kAhead) {
      int groups[kAhead];
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        const int slot = s + 32 * i + lane;
        groups[i] = slot < end ? group_of(slot) : -1;
      }
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        if (s + 32 * i >= end) break;
        const uint32_t peers = __match_any_sync(~0u, static_cast<uint32_t>(groups[i]));
        const int rank = __popc(peers & ((1u << lane) - 1));
        visit(s + 32 * i + lane, groups[i], __popc(peers), rank);
        __syncwarp();
      }
    }
  };

  if (warp < warps)
    for (int g = lane; g < G; g += 32) own[g] = 0;
  __syncwarp();
  for_each([&](int, int group, int peers, int rank) {
    if (group >= 0 && rank == 0) own[group] += peers;
  });
  __syncthreads();
  // Where each warp's rows of a group begin, still without the groups before.
  for (int g = static_cast<int>(threadIdx.x); g < G; g += static_cast<int>(blockDim.x)) {
    int total = 0;
    for (int w = 0; w < warps; ++w) {
      const int count = counts[w * G + g];
      counts[w * G + g] = total;
      total += count;
    }
    starts[g + 1] = total;
  }
  __syncthreads();
  if (warp == 0) {
    int before = 0;
    for (int g = 0; g < G; g += 32) {
      const int sum = warp_prefix(g + lane < G ? starts[g + lane + 1] : 0);
      if (g + lane < G) offsets[g + lane + 1] = starts[g + lane + 1] = before + sum;
      before += __shfl_sync(~0u, sum, 31);
    }
    if (lane == 0) offsets[0] = starts[0] = 0;
  }
  __syncthreads();
  if (warp < warps)
    for (int g = lane; g < G; g += 32) own[g] += starts[g];
  __syncwarp();
  for_each([&](int slot, int group, int peers, int rank) {
    const int row = group < 0 ? -1 : own[group] + rank;
    __syncwarp();
    if (group >= 0 && rank == 0) own[group] += peers;
    if (slot < end) rows[slot / K][slot % K] = row;
  });
}

/// The segment of token t, by bisection.
__device__ inline int segment_of(const int32_t* segments, int count, int t) {
  int low = 0, high = count;
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    (segments[middle] <= t ? low : high) = middle;
  }
  return low;
}

}  // namespace moe
