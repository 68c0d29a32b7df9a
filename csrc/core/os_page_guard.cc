#ifndef _WIN32

#include "core/os_page_guard.h"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <mutex>

namespace moe::os {
namespace {

/// The handler reads these lists without a lock, so entries are reused and never freed.
struct Range {
  std::atomic<uintptr_t> begin{0}, end{0};  // begin 0: free
  std::atomic<std::atomic<bool>*> lost{nullptr};
  Range* next = nullptr;
};
std::atomic<Range*> ranges{nullptr};
std::mutex changes;
struct sigaction before;
uintptr_t page = 0;

static_assert(std::atomic<uintptr_t>::is_always_lock_free);

/// True when the address is guarded and can be read from here on.
bool replace(uintptr_t at) {
  for (Range* range = ranges.load(); range; range = range->next) {
    const uintptr_t begin = range->begin.load(), end = range->end.load();
    if (begin == 0 || at < begin || at >= end) continue;
    if (range->begin.load() != begin) continue;  // used again meanwhile, `end` may be another's
    const uintptr_t first = at / page * page;
    void* zeros = mmap(reinterpret_cast<void*>(first), end - first, PROT_READ,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
    if (zeros == MAP_FAILED) return false;
    range->lost.load()->store(true);
    return true;
  }
  return false;
}

void on_bus_error(int signal, siginfo_t* info, void* context) {
  const int saved = errno;
  const bool replaced = info->si_code > 0 && replace(reinterpret_cast<uintptr_t>(info->si_addr));
  errno = saved;
  if (replaced) return;
  if (before.sa_flags & SA_SIGINFO) return before.sa_sigaction(signal, info, context);
  if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN)
    return before.sa_handler(signal);
  const bool sent = info->si_code <= 0;  // by a process, not by an instruction
  if (sent && before.sa_handler == SIG_IGN) return;
  // The default again: the instruction is tried once more, or the signal comes once more.
  sigaction(SIGBUS, &before, nullptr);
  if (sent) raise(signal);
}

void install() {
  static const bool once = [] {
    page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
    struct sigaction action {};
    action.sa_sigaction = on_bus_error;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigemptyset(&action.sa_mask);
    sigaction(SIGBUS, nullptr, &before);
    return sigaction(SIGBUS, &action, nullptr) == 0;
  }();
  static_cast<void>(once);
}

}  // namespace

void guard_pages(void* memory, size_t bytes, std::atomic<bool>* lost) {
  const std::lock_guard lock(changes);
  install();
  Range* range = ranges.load();
  while (range && range->begin.load() != 0) range = range->next;
  if (!range) {
    range = new Range;
    range->next = ranges.load();
    ranges.store(range);
  }
  const auto begin = reinterpret_cast<uintptr_t>(memory);
  range->lost.store(lost);
  range->end.store(begin + bytes);
  range->begin.store(begin);
}

void unguard_pages(void* memory) {
  const std::lock_guard lock(changes);
  for (Range* range = ranges.load(); range; range = range->next)
    if (range->begin.load() == reinterpret_cast<uintptr_t>(memory)) range->begin.store(0);
}

}  // namespace moe::os

#endif
