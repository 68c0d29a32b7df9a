#include "ops/permute.h"

#include "rows.cuh"

namespace moe {
namespace {

struct Groups {
  int16_t of[1024];  // group of each expert; -1: none
};

constexpr int kSortWarps = 32;

/// Counting sort of all slots by group, in slot order inside a group: one block, whose warp w has a
/// range of slots to itself. No atomics, so a slot's row is the same in every run.
__global__ void __launch_bounds__(32 * kSortWarps)
    sort_slots(const int32_t* ids, int slots, int G, const __grid_constant__ Groups groups,
               int32_t* offsets, int32_t* rows) {
  auto* counts = reinterpret_cast<int*>(shared_memory());  // [warps, G], then a warp's next rows
  wait_for_grid();
  release_grid();
  const int warps = static_cast<int>(blockDim.x / 32);
  const int warp = static_cast<int>(threadIdx.x / 32), lane = static_cast<int>(threadIdx.x % 32);
  const int per_warp = ((slots + warps - 1) / warps + 31) / 32 * 32;
  const int begin = min(warp * per_warp, slots), end = min(begin + per_warp, slots);
  int* own = counts + warp * G;
  // `visit(slot, group, peers, rank)`: the lanes with the same group, and how many come before.
  const auto for_each = [&](auto&& visit) {
    for (int s = begin; s < end; s += 32) {
      const int slot = s + lane;
      const int group = slot < end ? groups.of[ids[slot]] : -1;
      const uint32_t peers = __match_any_sync(~0u, static_cast<uint32_t>(group));
      const int rank = __popc(peers & ((1u << lane) - 1));
      visit(slot, group, __popc(peers), rank);
      __syncwarp();
    }
  };

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
    offsets[g + 1] = total;
  }
  __syncthreads();
  if (warp == 0) {
    int before = 0;
    for (int g = 0; g < G; g += 32) {
      int sum = g + lane < G ? offsets[g + lane + 1] : 0;
      for (unsigned distance = 1; distance < 32; distance *= 2) {
        const int other = __shfl_up_sync(~0u, sum, distance);
        if (lane >= static_cast<int>(distance)) sum += other;
      }
      if (g + lane < G) offsets[g + lane + 1] = before + sum;
      before += __shfl_sync(~0u, sum, 31);
    }
    if (lane == 0) offsets[0] = 0;
  }
  __syncthreads();
  for (int g = lane; g < G; g += 32) own[g] += offsets[g];
  __syncwarp();
  for_each([&](int slot, int group, int peers, int rank) {
    const int row = group < 0 ? -1 : own[group] + rank;
    __syncwarp();
    if (group >= 0 && rank == 0) own[group] += peers;
    if (slot < end) rows[slot] = row;
  });
}

/// One block a slot.
template <class T>
__global__ void gather_slots(Rows<const T> x, const int32_t* rows, int K, int width, float scale,
                             Rows<T> out) {
  wait_for_grid();
  release_grid();
  const int slot = static_cast<int>(blockIdx.x), row = rows[slot];
  if (row < 0) return;
  const T* from = x[slot / K];
  for (int h = threadIdx.x; h < width; h += blockDim.x)
    out[row][h] = scale == 1.f ? from[h] : from_f32<T>(scale * to_float(from[h]));
}

}  // namespace

void Permute::run_cuda(const CudaContext& cuda) const {
  const auto slots = static_cast<int>(ids.shape.count()), G = static_cast<int>(num_groups);
  if (groups.size() > std::size(Groups{}.of))
    fail(Code::unsupported, "permute: groups must be of at most 1024 experts, got ", groups.size());
  Groups table{};
  std::copy(groups.begin(), groups.end(), table.of);
  // As many warps as have slots, and no more than the counts have room for.
  const int warps = std::clamp(std::min((slots + 31) / 32, 8192 / std::max(G, 1)), 1, kSortWarps);
  cuda.launch(sort_slots, 1, 32u * static_cast<unsigned>(warps),
              static_cast<size_t>(warps) * static_cast<size_t>(std::max(G, 1)) * sizeof(int),
              ids.as<const int32_t>(), slots, G, table, offsets.as<int32_t>(), rows.as<int32_t>());
  dispatch_activation(x.dtype, kName, [&](auto tag) {
    using Value = decltype(tag);
    cuda.launch(gather_slots<Value>, blocks_for(slots, 1), 256, 0, rows_of<const Value>(x),
                rows.as<const int32_t>(), static_cast<int>(ids.dim(1)),
                static_cast<int>(x.dim(1)), scale, rows_of<Value>(out));
  });
}

}  // namespace moe
