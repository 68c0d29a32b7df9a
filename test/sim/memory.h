#pragma once
// The simulated device memory, and what is checked of every access that a kernel makes to it.
//
// The compiler calls a function for each load and store (-fsanitize=thread without its runtime;
// memory.cc has the functions). Two bytes have a tag: which launch wrote them last, which block of
// it and after how many of the block's barriers. Before griddepcontrol.wait only what no launch
// has written since the stream was synchronised may be read, by loads that say so. What another
// block of the same launch wrote may be read where PTX's memory model orders the two: barrier,
// fence, atomic, then atomic, fence, barrier.

#include <cstddef>
#include <cstdint>

namespace moe::sim {

enum class Access {
  read,
  write,
  prefetch,  // brings the thread nothing
  constant,  // a read through the cache that is not coherent, or by the copy engine: of weights
};

/// Memory that kernels reach, aligned to 256; null: there is no room.
void* device_allocate(size_t bytes);
/// Returns how many bytes it had.
size_t device_free(void* memory);
bool device_has(const void* at);

/// Checks an access by the running thread; fails its block where hardware would go wrong.
void touch(const void* at, size_t bytes, Access access);
/// As cp.async.bulk.prefetch.L2: at any time, but inside of memory.
void prefetch(const void* from, size_t bytes);
/// A load that must be aligned to its size.
void load(void* to, const void* from, size_t bytes, Access access);
/// The same for an atomic, before and after it.
void before_atomic(const void* at, size_t bytes);
void after_atomic(const void* at);
void fence();
/// As memcpy, without checks.
void copy_bytes(void* to, const void* from, size_t bytes);

/// A number for the next launch.
uint64_t next_serial();
/// The launch that runs, and the last one of its stream that is known to have ended.
struct Running {
  uint64_t serial, settled;
};
void begin_launch(const Running& launch, unsigned blocks);
void end_launch();
/// A copy outside of kernels wrote this: kernels behind it in the stream start when it has ended.
void forget_writes(const void* at, size_t bytes);

}  // namespace moe::sim
