#include "block.h"

#include <cstdlib>
#include <stdexcept>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

// Saves the callee-saved registers on the running stack, goes to the other stack and restores its.
extern "C" void moe_sim_switch(void** save, void* load);
#if defined(__x86_64__)
asm(R"(
.text
.globl moe_sim_switch
.type moe_sim_switch, @function
moe_sim_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size moe_sim_switch, .-moe_sim_switch
)");
#else
#error "the simulator switches stacks on x86-64 only"
#endif

namespace moe::sim {
namespace {

constexpr size_t kStack = size_t{64} << 10;
constexpr int kUninitialised = 0xff;  // NaN as f32 and bf16, -1 as integer

char* aligned(size_t bytes) {
  return static_cast<char*>(std::aligned_alloc(1024, (bytes + 1023) / 1024 * 1024));
}

}  // namespace

Block& Block::current() {
  static Block block;
  return block;
}

bool Block::runnable(unsigned i) const {
  const Thread& thread = threads_[i];
  return !thread.done && (!thread.watch || *thread.watch != thread.seen);
}

/// The thread to run: another lane of this warp, else of the next warp in order.
unsigned Block::next() {
  const auto count = static_cast<unsigned>(threads_.size());
  const unsigned warps = (count + 31) / 32, own = index_ / 32;
  for (;;) {
    for (unsigned step = 0; step < warps; ++step) {
      const unsigned warp = (schedule_.descending ? own + warps - step : own + step) % warps;
      for (unsigned lane = 1; lane <= 32; ++lane) {
        const unsigned i = warp * 32 + (step == 0 ? (index_ + lane) % 32 : lane - 1);
        if (i < count && runnable(i)) return i;
      }
    }
    if (pending_.empty()) return count;  // none
    const auto work =
        schedule_.descending ? std::move(pending_.back()) : std::move(pending_.front());
    schedule_.descending ? pending_.pop_back() : pending_.pop_front();
    work();
  }
}

void Block::switch_to(unsigned to) {
  void** save = &threads_[index_].stack_pointer;
  index_ = to;
  threadIdx = {to % blockDim.x, to / blockDim.x % blockDim.y, to / (blockDim.x * blockDim.y)};
  moe_sim_switch(save, threads_[to].stack_pointer);
}

/// Leaves the block for good: the other threads are not run again.
void Block::fail(const std::string& what) {
  failure_ = what + " (block " + std::to_string(blockIdx.x) + ", " + std::to_string(blockIdx.y) +
             ", " + std::to_string(blockIdx.z) + ", thread " + std::to_string(index_) + ")";
  void* dropped;
  moe_sim_switch(&dropped, main_stack_pointer_);
  std::abort();
}

void Block::wait(const uint64_t& word, uint64_t seen) {
  Thread& thread = self();
  thread.watch = &word;
  thread.seen = seen;
  if (word == seen) {
    const unsigned to = next();
    if (to == threads_.size()) fail("deadlock: every thread waits");
    if (to != index_) switch_to(to);
  }
  thread.watch = nullptr;
}

uint64_t Block::collect(unsigned mask, const std::function<void()>& complete) {
  Warp& warp = this->warp();
  const unsigned self = 1u << (index_ % 32);
  if (!(mask & self)) fail("a lane is not in its own mask");
  if ((mask & ~warp.alive) && mask != ~0u) fail("a lane of the mask has ended");
  if (warp.arrived == 0)
    warp.mask = mask;
  else if (warp.mask != mask)
    fail("lanes meet in a collective with different masks");
  const uint64_t round = warp.generation;
  warp.arrived |= self;
  if (warp.arrived == (mask & warp.alive)) {
    if (complete) complete();
    warp.arrived = 0;
    ++warp.generation;
  } else {
    wait(warp.generation, round);
  }
  return round;
}

void Block::barrier(unsigned id, unsigned threads) {
  Barrier& barrier = barriers_[id];
  const uint64_t round = barrier.generation;
  if (++barrier.arrived == threads) {
    barrier.arrived = 0;
    ++barrier.generation;
  } else {
    wait(barrier.generation, round);
  }
}

void Block::later(std::function<void()> work) {
  if (schedule_.late)
    pending_.push_back(std::move(work));
  else
    work();
}

void Block::enter() {
  Block& block = current();
  (*block.body_)();
  block.self().done = true;
  Warp& warp = block.warp();
  warp.alive &= ~(1u << (block.index_ % 32));
  // An ended thread no longer counts at the block's barrier, nor in its warp's collectives.
  if (warp.arrived && warp.arrived == (warp.mask & warp.alive))
    block.fail("a lane ended while its warp waits for it");
  void* dropped;
  if (--block.alive_ == 0) moe_sim_switch(&dropped, block.main_stack_pointer_);
  const unsigned to = block.next();
  if (to == block.threads_.size()) block.fail("deadlock: a thread ended and every other waits");
  block.switch_to(to);
  std::abort();
}

void Block::run(const std::function<void()>& thread) {
  body_ = &thread;
  failure_.clear();
  pending_.clear();
  mbarriers_.clear();
  waited_for_grid = false;
  std::memset(shared_, kUninitialised, shared_bytes_);
  for (Barrier& barrier : barriers_) barrier = {};
  const auto count = static_cast<unsigned>(threads_.size());
  for (Warp& warp : warps_) {
    warp.arrived = warp.alive = 0;
    warp.generation = 0;
    warp.matrix_groups.clear();
  }
  for (unsigned i = 0; i < count; ++i) {
    Thread& t = threads_[i];
    t.done = false;
    t.watch = nullptr;
    t.copies.clear();
    warps_[i / 32].alive |= 1u << (i % 32);
#if defined(__SANITIZE_ADDRESS__)
    ASAN_UNPOISON_MEMORY_REGION(t.stack, kStack);
#endif
    // Six registers, the entry, and a return address that keeps the stack aligned as after a call.
    void** top = reinterpret_cast<void**>(t.stack + kStack) - 8;
    std::memset(top, 0, 8 * sizeof(void*));
    top[6] = reinterpret_cast<void*>(&Block::enter);
    t.stack_pointer = top;
  }
  alive_ = count;
  index_ = schedule_.descending ? (count - 1) / 32 * 32 : 0;
  threadIdx = {index_ % blockDim.x, index_ / blockDim.x % blockDim.y,
               index_ / (blockDim.x * blockDim.y)};
  moe_sim_switch(&main_stack_pointer_, threads_[index_].stack_pointer);
  if (!failure_.empty()) throw std::runtime_error(failure_);
  if (!pending_.empty()) throw std::runtime_error("the block ended before its copies landed");
  if (!waited_for_grid) throw std::runtime_error("the kernel does not wait for the one before it");
}

void run_grid(dim3 grid, dim3 block_size, size_t shared_bytes, const Schedule& schedule,
              const std::function<void()>& thread) {
  Block& block = Block::current();
  const unsigned count = block_size.x * block_size.y * block_size.z;
  gridDim = grid;
  blockDim = block_size;
  block.schedule_ = schedule;
  while (block.stacks_.size() < count) block.stacks_.emplace_back(aligned(kStack), &std::free);
  block.threads_.resize(count);
  block.warps_.resize((count + 31) / 32);
  for (unsigned i = 0; i < count; ++i) block.threads_[i].stack = block.stacks_[i].get();
  const std::unique_ptr<char, void (*)(void*)> shared(aligned(shared_bytes ? shared_bytes : 1),
                                                      &std::free);
  block.shared_ = reinterpret_cast<unsigned char*>(shared.get());
  block.shared_bytes_ = shared_bytes;
  const unsigned blocks = grid.x * grid.y * grid.z;
  for (unsigned n = 0; n < blocks; ++n) {
    const unsigned i = schedule.descending ? blocks - 1 - n : n;
    blockIdx = {i % grid.x, i / grid.x % grid.y, i / (grid.x * grid.y)};
    block.run(thread);
  }
}

unsigned lane() { return Block::current().index() % 32; }

namespace {

/// Every lane of the mask hands over a value; what all of them gave.
const WarpSlot* share(unsigned mask, uint64_t value) {
  Block& block = Block::current();
  Warp& warp = block.warp();
  WarpSlot* slots = warp.slots[warp.generation % 2];
  slots[lane()].word[0] = value;
  block.collect(mask);
  return slots;
}

/// Lanes of the mask whose value is right.
template <class Right>
unsigned lanes_where(unsigned mask, const WarpSlot* slots, const Right& right) {
  unsigned bits = 0;
  for (unsigned i = 0; i < 32; ++i)
    if (mask >> i & 1 && right(slots[i].word[0])) bits |= 1u << i;
  return bits;
}

}  // namespace

uint64_t exchange(unsigned mask, uint64_t value, unsigned from) {
  const WarpSlot* slots = share(mask, value);
  if (!(mask >> from & 1)) Block::current().fail("a lane reads from one outside the mask");
  return slots[from].word[0];
}

unsigned ballot(unsigned mask, bool predicate) {
  return lanes_where(mask, share(mask, predicate), [](uint64_t given) { return given != 0; });
}

unsigned match(unsigned mask, uint64_t value) {
  return lanes_where(mask, share(mask, value), [&](uint64_t given) { return given == value; });
}

}  // namespace moe::sim

void __syncthreads() {
  moe::sim::Block::current().barrier(0, blockDim.x * blockDim.y * blockDim.z);
}

void __syncwarp(unsigned mask) { moe::sim::Block::current().collect(mask); }
