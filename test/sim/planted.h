#pragma once
// What small kernels with a planted bug share: planted.cc has those inside a block, and
// planted_memory.cc those of device memory and of blocks among each other.

#include <ptx.cuh>
#include <vector>

namespace moe::sim {

struct Launch {
  bool planted;
  Schedule schedule;

  void operator()(unsigned threads, size_t shared, const std::function<void()>& thread) const {
    blocks(1, threads, shared, thread);
  }
  void blocks(unsigned count, unsigned threads, size_t shared,
              const std::function<void()>& thread) const {
    run_grid({count}, {threads}, shared, schedule, thread);
  }
};

struct Case {
  const char* name;
  bool (*run)(const Launch&);  // whether the result is right; throws what the simulator says
};

extern const std::vector<Case> kMemoryCases;

}  // namespace moe::sim
