#pragma once
// Blocks of CUDA threads on the host: a fiber per thread, one running at a time.
//
// Inside a block fibers switch only where a thread waits, and the order is the most skewed one that
// is legal: a warp runs until all its lanes wait, then the next one, ascending or descending.
// Asynchronous work lands at once or as late as legal. Missing barriers show under one of these
// four; random orders rarely show any (bench/results has the trial).
//
// Two blocks of a grid are under way at a time, in an order that is as skewed: ascending they take
// turns at every barrier, atomic and fence; descending the first one stands still at one of these
// until all others have ended.

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "cuda_runtime.h"

namespace moe::sim {

/// What tests change of the simulated machine by the environment.
size_t setting(const char* name, size_t usual);

struct Schedule {
  bool descending = false;
  bool late = false;
};

/// Runs `thread` as every thread of the grid; throws std::runtime_error with the reason when
/// threads wait for each other in a circle, use a collective wrongly, or access memory too early.
/// `settled`: the last launch of the stream that the host knows to have ended.
void run_grid(dim3 grid, dim3 block, size_t shared_bytes, const Schedule& schedule,
              const std::function<void()>& thread, uint64_t settled = 0);

/// A lane's place for what the lanes of a warp hand to each other.
struct WarpSlot {
  uint64_t word[4];
};

struct Warp {
  uint32_t arrived = 0, alive = 0, mask = 0;
  uint64_t generation = 0;
  WarpSlot slots[2][32];  // by the generation's parity: readers of one round may meet writers of
                          // the next
  std::deque<std::vector<std::function<void()>>>
      matrix_groups;  // wgmma, committed and not waited for
};

/// A copy of a thread that has not landed.
struct Copy {
  void* to;
  const void* from;
  size_t bytes;  // of `from`; the rest of 16 is zero
};

struct Thread {
  void* stack_pointer = nullptr;
  char* stack = nullptr;
  bool done = false;
  const uint64_t* watch = nullptr;  // waits while *watch == seen
  uint64_t seen = 0;
  std::deque<std::vector<Copy>> copies;  // cp.async groups; the last one is open
  bool waited = false;                   // griddepcontrol.wait was called
  uint32_t fenced = 0;                   // barriers of the block before its last fence
  const void* atomic = nullptr;          // the last one, where no fence came after it
};

/// An mbarrier: a phase ends when everyone has arrived and all announced bytes are there.
struct Mbarrier {
  uint64_t phase = 0;
  int64_t count = 0, pending = 0, bytes = 0;

  void settle() {
    if (pending != 0 || bytes != 0) return;
    pending = count;
    ++phase;
  }
};

class Block {
 public:
  static Block& current() { return *running_; }
  static Block* running() { return running_; }  // null: no kernel runs

  unsigned index() const { return index_; }    // of the running thread
  unsigned number() const { return number_; }  // in the grid
  Thread& self() { return threads_[index_]; }
  Warp& warp() { return warps_[index_ / 32]; }
  const Schedule& schedule() const { return schedule_; }
  unsigned char* shared() { return shared_.get(); }
  size_t shared_bytes() const { return shared_bytes_; }
  /// Barriers that all threads have come through; 1 before the first.
  uint32_t epoch() const { return epoch_; }
  /// By block of the grid: writes with fewer barriers behind them come before what this block does.
  std::vector<uint32_t>& known() { return known_; }

  /// Blocks the running thread while `*word` is `seen`.
  void wait(const uint64_t& word, uint64_t seen);
  /// All lanes of `mask` arrive; the last one runs `complete` before any goes on. Returns the
  /// round.
  uint64_t collect(unsigned mask, const std::function<void()>& complete = {});
  void barrier(unsigned id, unsigned threads);
  /// The block's barrier, which tells whether any of its threads came with a predicate.
  bool any(bool predicate, unsigned threads);
  /// griddepcontrol.wait.
  void wait_for_grid();
  /// Another block may run here.
  void pause();
  /// Work that lands when nothing else can run, or at once.
  void later(std::function<void()> work);
  [[noreturn]] void fail(const std::string& what);

  Mbarrier& mbarrier(const void* at) {
    const auto found = mbarriers_.find(at);
    if (found == mbarriers_.end()) fail("an mbarrier is used before it is initialised");
    return found->second;
  }
  void make_mbarrier(const void* at, int64_t count) { mbarriers_[at] = {0, count, count, 0}; }

 private:
  friend void run_grid(dim3, dim3, size_t, const Schedule&, const std::function<void()>&, uint64_t);
  struct Barrier {
    unsigned arrived = 0;
    uint64_t generation = 0;
  };
  using Memory = std::unique_ptr<char, void (*)(void*)>;

  /// Makes it block `number` of the grid.
  void start(unsigned number, const Schedule& schedule, size_t shared_bytes,
             const std::function<void()>& thread);
  /// Runs its threads until it pauses or has ended; throws what failed.
  void resume();
  bool ended() const { return alive_ == 0; }
  void leave();
  void show() const;
  void switch_to(unsigned next);
  bool runnable(unsigned i) const;
  unsigned next();
  static void enter();

  static Block* running_;
  std::vector<Thread> threads_;
  std::vector<Warp> warps_;
  std::vector<Memory> stacks_;
  Barrier barriers_[16];
  bool any_[2] = {};  // of every second round of the block's barrier
  std::map<const void*, Mbarrier> mbarriers_;
  Schedule schedule_;
  std::deque<std::function<void()>> pending_;
  const std::function<void()>* body_ = nullptr;
  std::unique_ptr<unsigned char, void (*)(void*)> shared_{nullptr, nullptr};
  size_t shared_bytes_ = 0;
  void* main_stack_pointer_ = nullptr;
  unsigned index_ = 0, alive_ = 0, number_ = 0, pauses_ = 0;
  unsigned pause_at_ = 0;  // only this pause is one; 0: all are
  uint32_t epoch_ = 1;
  std::vector<uint32_t> known_;
  bool waited_ = false;  // some thread has called griddepcontrol.wait
  std::string failure_;
};

}  // namespace moe::sim
