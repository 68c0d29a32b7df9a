#pragma once

#include "core/pool.h"

namespace moe {

struct Kernels;  // cpu/isa/kernels.h

/// What `run_cpu` may use: the kernels of the chosen instruction set and the pool.
struct CpuContext {
  const Kernels& kernels;
  Pool& pool;
  int threads;  // at most this many

  template <class Body>
  void parallel(int64_t items, int64_t chunk, const Body& body) const {
    pool.run(items, chunk, threads, body);
  }
};

}  // namespace moe
