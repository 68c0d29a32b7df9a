#include "block.h"

#include <cstdlib>
#include <mutex>
#include <stdexcept>

#include "memory.h"

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
constexpr uint64_t kPauses = 5;       // of a block that stands still, where it may do so
constexpr int kUninitialised = 0xff;  // NaN as f32 and bf16, -1 as integer

char* aligned(size_t bytes) {
  return static_cast<char*>(std::aligned_alloc(1024, (bytes + 1023) / 1024 * 1024));
}

}  // namespace

Block* Block::running_ = nullptr;

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
    pause();                             // as late as legal: others first
    const auto work =
        schedule_.descending ? std::move(pending_.back()) : std::move(pending_.front());
    schedule_.descending ? pending_.pop_back() : pending_.pop_front();
    work();
  }
}

/// Sets what the running thread sees of itself.
void Block::show() const {
  threadIdx = {index_ % blockDim.x, index_ / blockDim.x % blockDim.y,
               index_ / (blockDim.x * blockDim.y)};
  blockIdx = {number_ % gridDim.x, number_ / gridDim.x % gridDim.y,
              number_ / (gridDim.x * gridDim.y)};
}

void Block::switch_to(unsigned to) {
  void** save = &threads_[index_].stack_pointer;
  index_ = to;
  show();
  moe_sim_switch(save, threads_[to].stack_pointer);
}

/// Leaves the block for good: its running thread is not run again.
void Block::leave() {
  void* dropped;
  moe_sim_switch(&dropped, main_stack_pointer_);
  std::abort();
}

void Block::fail(const std::string& what) {
  show();
  failure_ = what + " (block " + std::to_string(blockIdx.x) + ", " + std::to_string(blockIdx.y) +
             ", " + std::to_string(blockIdx.z) + ", thread " + std::to_string(index_) + ")";
  leave();
  std::abort();
}

void Block::pause() {
  ++pauses_;
  if (pause_at_ && pauses_ != pause_at_) return;
  moe_sim_switch(&threads_[index_].stack_pointer, main_stack_pointer_);
}

void Block::wait_for_grid() {
  self().waited = true;
  if (std::exchange(waited_, true)) return;
  pause();
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
    if (id != 0) return;
    any_[barrier.generation % 2] = false;  // everyone has read what it was two rounds ago
    ++epoch_;
    pause();
  } else {
    wait(barrier.generation, round);
  }
}

bool Block::any(bool predicate, unsigned threads) {
  bool& found = any_[barriers_[0].generation % 2];
  found |= predicate;
  barrier(0, threads);
  return found;
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
  if (--block.alive_ == 0) block.leave();
  const unsigned to = block.next();
  if (to == block.threads_.size()) block.fail("deadlock: a thread ended and every other waits");
  block.switch_to(to);
  std::abort();
}

void Block::start(unsigned number, const Schedule& schedule, size_t shared_bytes,
                  const std::function<void()>& thread) {
  const unsigned count = blockDim.x * blockDim.y * blockDim.z;
  schedule_ = schedule;
  while (stacks_.size() < count) stacks_.emplace_back(aligned(kStack), &std::free);
  threads_.assign(count, {});
  warps_.assign((count + 31) / 32, {});
  body_ = &thread;
  failure_.clear();
  pending_.clear();
  mbarriers_.clear();
  known_.clear();
  number_ = number;
  waited_ = false;
  epoch_ = 1;
  pauses_ = pause_at_ = 0;
  shared_ = {reinterpret_cast<unsigned char*>(aligned(shared_bytes ? shared_bytes : 1)),
             &std::free};
  shared_bytes_ = shared_bytes;
  std::memset(shared(), kUninitialised, shared_bytes_);
  for (Barrier& barrier : barriers_) barrier = {};
  any_[0] = any_[1] = false;
  for (unsigned i = 0; i < count; ++i) {
    Thread& t = threads_[i];
    t.stack = stacks_[i].get();
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
}

void Block::resume() {
  running_ = this;
  show();
  moe_sim_switch(&main_stack_pointer_, threads_[index_].stack_pointer);
  running_ = nullptr;
  if (!failure_.empty()) throw std::runtime_error(failure_);
  if (!ended()) return;
  if (!pending_.empty()) throw std::runtime_error("the block ended before its copies landed");
  if (!waited_) throw std::runtime_error("the kernel does not wait for the one before it");
}

void run_grid(dim3 grid, dim3 block_size, size_t shared_bytes, const Schedule& schedule,
              const std::function<void()>& thread, uint64_t settled) {
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  static Block slots[2];  // they keep their stacks
  gridDim = grid;
  blockDim = block_size;
  const unsigned blocks = grid.x * grid.y * grid.z;
  const uint64_t serial = next_serial();
  begin_launch({serial, settled}, blocks);
  unsigned started = 0;
  const auto start = [&](Block& block) {
    if (started == blocks) return false;
    const unsigned number = schedule.descending ? blocks - 1 - started : started;
    ++started;
    block.start(number, schedule, shared_bytes, thread);
    return true;
  };
  if (schedule.descending) {
    start(slots[0]);
    // Where it stands still differs from launch to launch.
    slots[0].pause_at_ = 1 + static_cast<unsigned>(serial % kPauses);
    slots[0].resume();
    while (start(slots[1])) {
      slots[1].pause_at_ = ~0u;
      slots[1].resume();
    }
    if (!slots[0].ended()) slots[0].resume();
  } else {
    bool busy[] = {start(slots[0]), start(slots[1])};
    for (unsigned turn = 0; busy[0] || busy[1]; turn ^= 1) {
      if (!busy[turn]) continue;
      slots[turn].resume();
      if (slots[turn].ended()) busy[turn] = start(slots[turn]);
    }
  }
  end_launch();
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

int __syncthreads_or(int predicate) {
  return moe::sim::Block::current().any(predicate != 0, blockDim.x * blockDim.y * blockDim.z);
}

void __syncwarp(unsigned mask) { moe::sim::Block::current().collect(mask); }
