#include "memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <new>
#include <stdexcept>
#include <unordered_map>

#include "block.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(at, bytes) (void)(at), (void)(bytes)
#define ASAN_UNPOISON_MEMORY_REGION(at, bytes) (void)(at), (void)(bytes)
#endif

namespace moe::sim {
namespace {

constexpr size_t kArena = size_t{64} << 30, kPage = 4096, kPages = kArena / kPage;
constexpr size_t kGranule = 2;                // bytes: no kernel writes less
constexpr uint64_t kAgreed = (1u << 20) - 1;  // in place of a block: several wrote the same

/// Address space that takes memory where it is written to.
template <class T>
T* reserve(size_t count) {
  void* at = mmap(nullptr, count * sizeof(T), PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (at == MAP_FAILED) throw std::bad_alloc();
  return static_cast<T*>(at);
}

/// Who wrote a granule last: launch, block, and how many barriers that had behind it; 0: nobody
/// since it was made.
struct Tag {
  uint64_t bits;

  static Tag of(uint64_t serial, uint64_t block, uint64_t epoch) {
    return {serial << 36 | (block & kAgreed) << 16 | (epoch < 0xffff ? epoch : 0xffff)};
  }
  uint64_t serial() const { return bits >> 36; }
  uint64_t block() const { return bits >> 16 & kAgreed; }
  uint64_t epoch() const { return bits & 0xffff; }
};

/// What blocks have released at an atomic's address: for each the barriers that its writes had
/// behind them.
using Released = std::vector<uint32_t>;

struct Memory {
  char* base = reserve<char>(kArena);
  Tag* tags = reserve<Tag>(kArena / kGranule);
  uint16_t* valid = reserve<uint16_t>(kPages);  // bytes of each page that may be touched
  std::mutex mutex;
  std::map<size_t, size_t> sizes;  // by first page
  size_t cursor = 0;

  Running running{};
  unsigned blocks = 0;
  std::unordered_map<const void*, Released> released;
  // A write to what another block wrote in this launch: fine if it changes nothing.
  struct {
    const void* at = nullptr;
    size_t bytes = 0;
    unsigned char before[16];
  } rewrite;

  size_t offset(const void* at) const {
    return static_cast<size_t>(static_cast<const char*>(at) - base);
  }
};

// As a constant address: every load and store of a kernel asks for it.
Memory& memory() {
  static Memory all;
  return all;
}
char* arena = memory().base;

size_t pages_of(size_t bytes) { return (bytes + kPage - 1) / kPage; }

void clear_tags(Memory& all, size_t offset, size_t bytes) {
  Tag* tags = all.tags + offset / kGranule;
  const size_t count = (bytes + kGranule - 1) / kGranule;
  if (count < (size_t{1} << 20)) {
    for (size_t i = 0; i < count; ++i)
      if (tags[i].bits) tags[i] = {0};
    return;
  }
  const auto from = (reinterpret_cast<uintptr_t>(tags) + kPage - 1) / kPage * kPage;
  const auto to = reinterpret_cast<uintptr_t>(tags + count) / kPage * kPage;
  madvise(reinterpret_cast<void*>(from), to - from, MADV_DONTNEED);
  for (Tag* tag = tags; reinterpret_cast<uintptr_t>(tag) < from; ++tag) *tag = {0};
  for (Tag* tag = reinterpret_cast<Tag*>(to); tag < tags + count; ++tag) *tag = {0};
}

[[noreturn]] void fail(const char* what) { Block::current().fail(what); }

/// Whether what `tag` says was written by another block comes before what this block does now.
bool ordered(Block& block, const Tag& tag) {
  const Released& known = block.known();
  return tag.block() < known.size() && known[tag.block()] > tag.epoch();
}

void finish_rewrite(Memory& all) {
  auto& rewrite = all.rewrite;
  const void* at = std::exchange(rewrite.at, nullptr);
  if (std::memcmp(at, rewrite.before, rewrite.bytes) != 0)
    fail("two blocks write different values to the same place, in no order");
}

/// An access of at most 16 bytes.
void check(Memory& all, const void* at, size_t bytes, Access access) {
  Block& block = Block::current();
  if (all.rewrite.at) finish_rewrite(all);
  const size_t offset = all.offset(at), page = offset / kPage;
  if (offset % kPage + bytes > all.valid[page] &&
      (all.valid[page] < kPage || offset % kPage + bytes - kPage > all.valid[page + 1]))
    fail("an access outside of all device memory");
  if (access == Access::prefetch) return;
  if (!block.self().waited && access != Access::constant)
    fail(access == Access::write ? "written before the kernel before has ended"
                                 : "read before the kernel before has ended");
  const uint64_t serial = all.running.serial;
  const Tag own = Tag::of(serial, block.number(), block.epoch());
  Tag* tags = all.tags + offset / kGranule;
  const size_t count = (offset % kGranule + bytes + kGranule - 1) / kGranule;
  for (size_t i = 0; i < count; ++i) {
    Tag& tag = tags[i];
    if (access == Access::constant) {
      if (tag.serial() > all.running.settled)
        fail("what kernels write is read as if it were a weight");
      continue;
    }
    Tag next = own;
    if (tag.serial() == serial && tag.block() != block.number()) {
      if (access == Access::read) {
        if (tag.block() != kAgreed && !ordered(block, tag))
          fail("what another block wrote is read without fences and a counter between");
      } else if (tag.block() == kAgreed || !ordered(block, tag)) {
        all.rewrite.at = at;
        all.rewrite.bytes = bytes;
        std::memcpy(all.rewrite.before, at, bytes);
        next = Tag::of(serial, kAgreed, 0);
      }
    }
    if (access == Access::write) tag = next;
  }
}

inline bool on_device(const void* at) {
  return static_cast<size_t>(static_cast<const char*>(at) - arena) < kArena;
}

}  // namespace

void* device_allocate(size_t bytes) {
  Memory& all = memory();
  const std::lock_guard lock(all.mutex);
  const size_t pages = pages_of(bytes ? bytes : 1);
  // Behind what was allocated last, so that freed memory stays untouchable for long; a page between
  // any two.
  size_t at = all.cursor;
  for (bool wrapped = false;;) {
    const auto after = all.sizes.lower_bound(at);
    if (after != all.sizes.begin()) {
      const auto& [first, size] = *std::prev(after);
      at = std::max(at, first + pages_of(size) + 1);
    }
    if (at + pages >= kPages) {
      if (wrapped) return nullptr;
      wrapped = true;
      at = 0;
      continue;
    }
    if (after == all.sizes.end() || at + pages < after->first) break;
    at = after->first + 1;
  }
  all.cursor = at + pages + 1;
  all.sizes[at] = bytes ? bytes : 1;
  char* memory = all.base + at * kPage;
  for (size_t i = 0; i < pages; ++i)
    all.valid[at + i] = static_cast<uint16_t>(std::min(bytes - i * kPage, kPage));
  ASAN_UNPOISON_MEMORY_REGION(memory, bytes);
  ASAN_POISON_MEMORY_REGION(memory + bytes, (pages + 1) * kPage - bytes);
  return memory;
}

size_t device_free(void* memory_) {
  Memory& all = memory();
  const std::lock_guard lock(all.mutex);
  const size_t offset = all.offset(memory_), page = offset / kPage;
  const size_t bytes = all.sizes.at(page), pages = pages_of(bytes);
  all.sizes.erase(page);
  clear_tags(all, offset, bytes);
  std::memset(all.valid + page, 0, pages * sizeof *all.valid);
  madvise(memory_, pages * kPage, MADV_DONTNEED);
  ASAN_POISON_MEMORY_REGION(memory_, bytes);
  return bytes;
}

bool device_has(const void* at) { return on_device(at); }

void touch(const void* at, size_t bytes, Access access) {
  if (!on_device(at) || !Block::running()) return;
  const auto* byte = static_cast<const char*>(at);
  for (; bytes > 16; bytes -= 16, byte += 16) check(memory(), byte, 16, access);
  check(memory(), byte, bytes, access);
}

void prefetch(const void* from, size_t bytes) {
  if (reinterpret_cast<uintptr_t>(from) % 16 || bytes % 16)
    fail("a prefetch that is not of whole 16 bytes");
  touch(from, bytes, Access::prefetch);
}

void load(void* to, const void* from, size_t bytes, Access access) {
  if (reinterpret_cast<uintptr_t>(from) % bytes) fail("an access that is not aligned to its size");
  touch(from, bytes, access);
  std::memcpy(to, from, bytes);
}

void before_atomic(const void* at, size_t bytes) {
  if (!on_device(at)) return;
  // Atomics are ordered among themselves, and after what was written here in another launch.
  check(memory(), at, bytes, Access::read);
  Thread& thread = Block::current().self();
  if (thread.fenced) {
    Memory& all = memory();
    Released& released = all.released[at];
    released.resize(all.blocks);
    uint32_t& own = released[Block::current().number()];
    own = std::max(own, static_cast<uint32_t>(thread.fenced));
  }
}

void after_atomic(const void* at) {
  if (!on_device(at)) return;
  Block::current().self().atomic = at;
  Block::current().pause();
}

void fence() {
  Block& block = Block::current();
  Thread& thread = block.self();
  thread.fenced = block.epoch();
  if (!thread.atomic) return;
  const auto found = memory().released.find(std::exchange(thread.atomic, nullptr));
  if (found == memory().released.end()) return;
  Released& known = block.known();
  known.resize(found->second.size());
  for (size_t i = 0; i < known.size(); ++i) known[i] = std::max(known[i], found->second[i]);
}

void copy_bytes(void* to, const void* from, size_t bytes) { std::memcpy(to, from, bytes); }

uint64_t next_serial() {
  static uint64_t serial = 0;
  const std::lock_guard lock(memory().mutex);
  return ++serial;
}

void begin_launch(const Running& launch, unsigned blocks) {
  Memory& all = memory();
  all.running = launch;
  all.blocks = blocks;
  all.released.clear();
  all.rewrite.at = nullptr;
}

void end_launch() {
  Memory& all = memory();
  if (all.rewrite.at && std::memcmp(all.rewrite.at, all.rewrite.before, all.rewrite.bytes) != 0)
    throw std::runtime_error("two blocks write different values to the same place, in no order");
}

void forget_writes(const void* at, size_t bytes) {
  if (on_device(at)) clear_tags(memory(), memory().offset(at), bytes);
}

}  // namespace moe::sim

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

// What -fsanitize=thread calls, without its library.

using moe::sim::Access;
using moe::sim::Block;

namespace {

template <size_t kBytes>
void access(void* at, Access access) {
  if (!moe::sim::on_device(at) || !Block::running()) return;
  if (kBytes > 1 && reinterpret_cast<uintptr_t>(at) % kBytes)
    moe::sim::fail("an access that is not aligned to its size");
  moe::sim::check(moe::sim::memory(), at, kBytes, access);
}

}  // namespace

#define MOE_SIM_ACCESS(bytes)                                                               \
  void __tsan_read##bytes(void* at) { access<bytes>(at, Access::read); }                    \
  void __tsan_write##bytes(void* at) { access<bytes>(at, Access::write); }                  \
  void __tsan_unaligned_read##bytes(void* at) { moe::sim::touch(at, bytes, Access::read); } \
  void __tsan_unaligned_write##bytes(void* at) { moe::sim::touch(at, bytes, Access::write); }

extern "C" {
MOE_SIM_ACCESS(1)
MOE_SIM_ACCESS(2)
MOE_SIM_ACCESS(4)
MOE_SIM_ACCESS(8)
MOE_SIM_ACCESS(16)
void __tsan_read_range(void* at, size_t bytes) { moe::sim::touch(at, bytes, Access::read); }
void __tsan_write_range(void* at, size_t bytes) { moe::sim::touch(at, bytes, Access::write); }
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}
int __tsan_atomic32_fetch_add(int* at, int value, int) {  // of a shared_ptr's count, on the host
  return __atomic_fetch_add(at, value, __ATOMIC_ACQ_REL);
}
}

#endif
