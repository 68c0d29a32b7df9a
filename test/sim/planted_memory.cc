// Planted bugs of dependent launches, of blocks that work together, and of the device's limits.

#include <stdexcept>

#include "planted.h"

namespace moe::sim {
namespace {

const unsigned& id = threadIdx.x;
const unsigned& block = blockIdx.x;
constexpr unsigned kBlocks = 5, kThreads = 64;

/// Numbers on the device, 0 at first.
struct Numbers {
  int* data;

  explicit Numbers(size_t count) : data(static_cast<int*>(device_allocate(count * sizeof(int)))) {
    copy_bytes(data, std::vector<int>(count).data(), count * sizeof(int));
  }
  ~Numbers() { device_free(data); }
  Numbers(const Numbers&) = delete;
  int& operator[](size_t i) const { return data[i]; }
};

enum class Early { nothing, read, write, count, copy, one_thread, weight };

/// A kernel that doubles what the kernel before wrote; planted: some of it before the wait.
bool doubled(const Launch& launch, Early bug) {
  if (!launch.planted) bug = Early::nothing;
  const Numbers in(4 * kThreads), out(kThreads), counter(1);
  launch(kThreads, 0, [&] {
    wait_prior_grid();
    for (unsigned i = 0; i < 4; ++i) in[4 * id + i] = static_cast<int>(id + i);
  });
  launch(kThreads, 16 * kThreads, [&] {
    int value = 0;
    if (bug == Early::read) value = in[4 * id];
    if (bug == Early::write) out[id] = 0;
    if (bug == Early::count && id == 0) atomicAdd(&counter[0], 1);
    if (bug == Early::copy) {
      cp_async16(shared_memory() + 16 * id, &in[4 * id], 16);
      cp_async_wait<0>();
    }
    if (bug == Early::weight)
      value = static_cast<int>(load_stream(reinterpret_cast<const uint4*>(&in[4 * id])).x);
    if (bug != Early::one_thread || id != 33) wait_prior_grid();
    __syncthreads();
    if (bug != Early::read && bug != Early::weight) value = in[4 * id];
    out[id] = 2 * value;
  });
  for (unsigned i = 0; i < kThreads; ++i)
    if (out[i] != static_cast<int>(2 * i)) return false;
  return true;
}

enum class Merge { right, no_barrier, no_fence, no_fence_after, fence_too_early, no_counter };

/// The last block to come to a counter adds up what all have written.
bool last_block(const Launch& launch, Merge bug) {
  if (!launch.planted) bug = Merge::right;
  const Numbers parts(kBlocks * kThreads), counter(1), total(1);
  launch.blocks(kBlocks, kThreads, 16, [&] {
    auto* flag = reinterpret_cast<int*>(shared_memory());
    wait_prior_grid();
    parts[block * kThreads + id] = static_cast<int>(block * kThreads + id);
    if (bug == Merge::fence_too_early) __threadfence();  // of each thread: it orders nothing
    if (bug != Merge::no_barrier) __syncthreads();
    if (id == 0) {
      if (bug != Merge::no_fence && bug != Merge::fence_too_early) __threadfence();
      *flag = bug == Merge::no_counter ? block == kBlocks - 1
                                       : atomicAdd(&counter[0], 1) == int{kBlocks} - 1;
      if (*flag && bug != Merge::no_fence_after) __threadfence();
    }
    __syncthreads();
    if (!*flag || id != 0) return;
    int sum = 0;
    for (unsigned i = 0; i < kBlocks * kThreads; ++i) sum += parts[i];
    total[0] = sum;
  });
  return total[0] == int{kBlocks * kThreads} * (int{kBlocks * kThreads} - 1) / 2;
}

/// Every block writes its number plus one, or all the same.
bool one_place(const Launch& launch) {
  const Numbers out(1);
  launch.blocks(kBlocks, 1, 0, [&] {
    wait_prior_grid();
    out[0] = launch.planted ? static_cast<int>(block) + 1 : 7;
  });
  return out[0] == 7 || launch.planted;
}

enum class Ticket { right, in_a_common_place, no_atomic };

/// Blocks take the next tile while there is one.
bool tickets(const Launch& launch, Ticket bug) {
  if (!launch.planted) bug = Ticket::right;
  constexpr int kTiles = 9;
  const Numbers counter(1), common(1), out(kTiles * kThreads);
  launch.blocks(2, kThreads, 16, [&] {
    int* place =
        bug == Ticket::in_a_common_place ? common.data : reinterpret_cast<int*>(shared_memory());
    wait_prior_grid();
    for (;;) {
      __syncthreads();
      if (id == 0) *place = bug == Ticket::no_atomic ? counter[0]++ : atomicAdd(&counter[0], 1);
      __syncthreads();
      const int tile = *place;
      if (tile >= kTiles) return;
      out[static_cast<unsigned>(tile) * kThreads + id] = tile;
    }
  });
  for (unsigned i = 0; i < kTiles * kThreads; ++i)
    if (out[i] != static_cast<int>(i / kThreads)) return false;
  return true;
}

/// Tiles through one stage of a ring; planted: a block begins each tile with the first parity.
bool phases(const Launch& launch) {
  constexpr unsigned kTiles = 6;
  const Numbers in(4 * kTiles), counter(1), out(kTiles);
  for (unsigned i = 0; i < 4 * kTiles; ++i) in[i] = static_cast<int>(i);
  launch.blocks(2, kThreads, 64, [&] {
    unsigned char* stage = shared_memory();
    auto* full = reinterpret_cast<uint64_t*>(stage + 16);
    auto* empty = full + 1;
    auto* ticket = reinterpret_cast<int*>(stage + 32);
    if (id == 0) mbarrier_init(full, 1), mbarrier_init(empty, 1);
    __syncthreads();
    wait_prior_grid();
    for (unsigned phase = 0;; phase = launch.planted ? 0 : phase ^ 1) {
      if (id == 0) {
        mbarrier_wait(empty, phase ^ 1);
        const int tile = *ticket = atomicAdd(&counter[0], 1);
        mbarrier_arrive_expect(full, tile < int{kTiles} ? 16 : 0);
        if (tile < int{kTiles}) bulk_copy(stage, &in[4 * static_cast<unsigned>(tile)], 16, full);
        if (tile >= int{kTiles}) return;
      } else if (id == 32) {
        mbarrier_wait(full, phase);
        const int tile = *ticket;
        if (tile >= int{kTiles}) return;
        out[static_cast<unsigned>(tile)] = *reinterpret_cast<int*>(stage);
        mbarrier_arrive(empty);
      } else {
        return;
      }
    }
  });
  for (unsigned i = 0; i < kTiles; ++i)
    if (out[i] != static_cast<int>(4 * i)) return false;
  return true;
}

bool outside(const Launch& launch) {
  const Numbers in(kThreads), out(kThreads);
  launch(kThreads, 0, [&] {
    wait_prior_grid();
    out[id] = in[id + launch.planted];
  });
  return true;
}

bool misaligned(const Launch& launch) {
  const Numbers in(4 * kThreads + 4), out(kThreads);
  launch(kThreads, 0, [&] {
    wait_prior_grid();
    out[id] =
        static_cast<int>(load_once(reinterpret_cast<const uint4*>(&in[4 * id + launch.planted])).x);
  });
  return true;
}

bool copy_past_shared(const Launch& launch) {
  const Numbers in(64);
  launch(32, 64, [&] {
    wait_prior_grid();
    if (id < 4) cp_async16(shared_memory() + 16 * (id + launch.planted), &in[4 * id], 16);
    cp_async_commit();
    cp_async_wait<0>();
  });
  return true;
}

/// A map's rows must move on by a multiple of 16 bytes, and a box has at most 256.
bool tensor_map(const Launch& launch, int64_t stride, int box_rows) {
  const Numbers in(1024);
  make_tensor_map(in.data, 8, 64, launch.planted ? stride : 128, launch.planted ? box_rows : 64);
  return true;
}

void nothing() { wait_prior_grid(); }

/// Shared memory of sm_120, which has 99 KB a block, and more than 48 only for who asks.
bool shared_memory_of(const Launch& launch, size_t bytes, bool asks) {
  cudaSetDevice(6);
  cudaStream_t stream = nullptr;
  cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
  cudaLaunchConfig_t config;
  config.gridDim = 1;
  config.blockDim = 32;
  config.stream = stream;
  config.dynamicSmemBytes = launch.planted ? bytes : size_t{99} << 10;
  cudaError_t error = cudaSuccess;
  cudaFuncSetAttribute(nothing, cudaFuncAttributeMaxDynamicSharedMemorySize, 0);
  if (asks || !launch.planted)
    error = cudaFuncSetAttribute(nothing, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                 static_cast<int>(config.dynamicSmemBytes));
  if (error == cudaSuccess) error = cudaLaunchKernelEx(&config, nothing);
  cudaStreamDestroy(stream);
  if (error != cudaSuccess) throw std::runtime_error(cudaGetErrorString(error));
  return true;
}

cudaEvent_t events[2];

enum class Pinned { right, read_early, one_input, one_result };

void twice(int* number) {
  wait_prior_grid();
  if (id == 0) *number *= 2;
}

/// Two runs behind each other, a number in and a number out through pinned memory, before the host
/// looks at what the first one gave.
bool two_runs(const Launch& launch, Pinned bug) {
  if (!launch.planted) bug = Pinned::right;
  cudaSetDevice(launch.schedule.descending + 2 * launch.schedule.late);
  for (cudaEvent_t& event : events)
    if (!event) cudaEventCreateWithFlags(&event, cudaEventDisableTiming);
  cudaStream_t stream = nullptr;
  cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
  void* memory = nullptr;
  cudaMallocHost(&memory, 4 * sizeof(int));
  int* in = static_cast<int*>(memory);
  int* out = in + 2;
  const Numbers number(1);
  for (int run = 0; run < 2; ++run) {
    int* from = in + (bug == Pinned::one_input ? 0 : run);
    *from = 20 + run;
    cudaMemcpyAsync(number.data, from, sizeof(int), cudaMemcpyDefault, stream);
    cudaLaunchConfig_t config;
    config.blockDim = 32;
    config.stream = stream;
    cudaLaunchKernelEx(&config, twice, number.data);
    cudaMemcpyAsync(out + (bug == Pinned::one_result ? 0 : run), number.data, sizeof(int),
                    cudaMemcpyDeviceToHost, stream);
    cudaEventRecord(events[run], stream);
  }
  if (bug != Pinned::read_early) cudaEventSynchronize(events[0]);
  const int first = out[0];
  cudaEventSynchronize(events[1]);
  const int second = out[bug == Pinned::one_result ? 0 : 1];
  cudaStreamDestroy(stream);
  cudaFreeHost(memory);
  return first == 40 && second == 42;
}

}  // namespace

const std::vector<Case> kMemoryCases = {
    {"a result read before its event", [](auto& l) { return two_runs(l, Pinned::read_early); }},
    {"one pinned input for two runs", [](auto& l) { return two_runs(l, Pinned::one_input); }},
    {"one pinned result for two runs", [](auto& l) { return two_runs(l, Pinned::one_result); }},
    {"a tensor map with an odd stride", [](auto& l) { return tensor_map(l, 136, 64); }},
    {"a tensor map with too high a box", [](auto& l) { return tensor_map(l, 128, 257); }},
    {"a copy past the end of shared memory", copy_past_shared},
    {"more shared memory than the device has",
     [](auto& l) { return shared_memory_of(l, 100 << 10, true); }},
    {"more shared memory than is asked for",
     [](auto& l) { return shared_memory_of(l, 64 << 10, false); }},
    {"the first parity for every tile", phases},
    {"a ticket in a place of all blocks",
     [](auto& l) { return tickets(l, Ticket::in_a_common_place); }},
    {"a copy before the wait for the kernel before",
     [](auto& l) { return doubled(l, Early::copy); }},
    {"a count before the wait for the kernel before",
     [](auto& l) { return doubled(l, Early::count); }},
    {"what the kernel before wrote as a weight", [](auto& l) { return doubled(l, Early::weight); }},
#if defined(MOE_SIM_ACCESSES)  // the compiler tells of loads and stores
    {"a read before the wait for the kernel before",
     [](auto& l) { return doubled(l, Early::read); }},
    {"a write before the wait for the kernel before",
     [](auto& l) { return doubled(l, Early::write); }},
    {"a thread that does not wait for the kernel before",
     [](auto& l) { return doubled(l, Early::one_thread); }},
    {"no barrier before a last block's counter",
     [](auto& l) { return last_block(l, Merge::no_barrier); }},
    {"no fence before a last block's counter",
     [](auto& l) { return last_block(l, Merge::no_fence); }},
    {"a fence before the barrier of a last block's counter",
     [](auto& l) { return last_block(l, Merge::fence_too_early); }},
    {"no fence behind a last block's counter",
     [](auto& l) { return last_block(l, Merge::no_fence_after); }},
    {"a last block by its number", [](auto& l) { return last_block(l, Merge::no_counter); }},
    {"a place that blocks write differently", one_place},
    {"a ticket without an atomic", [](auto& l) { return tickets(l, Ticket::no_atomic); }},
    {"a read past the end of device memory", outside},
    {"a load that is not aligned to its size", misaligned},
#endif
};

}  // namespace moe::sim
